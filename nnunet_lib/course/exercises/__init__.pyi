from .cells import check as check
from .cells import hint as hint
from .cells import progress as progress
from .cells import solution as solution
from .exercise import Exercise as Exercise
from .exercise import Mistake as Mistake
from .exercise import Property as Property
