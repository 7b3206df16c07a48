from .claims import Claim as Claim
from .claims import ClaimError as ClaimError
from .claims import Ledger as Ledger
from .datasets import fresh_folder as fresh_folder
from .datasets import resolve_dataset as resolve_dataset
from .figures import comparison_figure as comparison_figure
from .figures import curve_figure as curve_figure
from .figures import draw_slice as draw_slice
from .figures import patches_figure as patches_figure
from .figures import planes_figure as planes_figure
from .figures import show as show
from .keeping import work_folder as work_folder
from .models import TrainedModel as TrainedModel
from .models import cross_validated_model as cross_validated_model
from .models import trained_model as trained_model
from .output import show_table as show_table
from .profiles import PROFILES as PROFILES
from .profiles import Profile as Profile
from .profiles import resolve as resolve
from .profiles import use_profile as use_profile
from .recording import record as record
from .runner import CourseError as CourseError
from .runner import NotebookResult as NotebookResult
from .runner import Summary as Summary
from .runner import run_course as run_course
from .viewer import viewer as viewer

LOADED_AT: float
