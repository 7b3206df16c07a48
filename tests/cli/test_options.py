"""Every option is read by its command, and every setting by the stage behind it.

An option that nothing reads is a promise that nothing keeps. Running a command would show only
what one branch of it reads, so the source is read instead, with as much of its types as its
annotations and assignments tell.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import nnunet_lib
from nnunet_lib.cli import commands
from nnunet_lib.cli.main import make_parser
from nnunet_lib.evaluation import evaluate_folder
from nnunet_lib.inference import predict

LIBRARY = Path(nnunet_lib.__file__).parent
SOURCES = {
    path.relative_to(LIBRARY).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(LIBRARY.rglob("*.py"))
}
Scope = Mapping[str, set[str]]  # a name -> the settings classes that it may have
# Here a settings class looks only at its own values, which uses none of them.
VALIDATION = "__post_init__"


class Reads:
    """What source code reads, found without running it.

    Attributes:
        fields: the fields of each class whose name ends in "Settings".
        settings: each (class, field) that is read outside of the command line and validation.
        arguments: a function of the command line -> `x` of every `arguments.x` in it.
        made: a function of the command line -> the classes that its `settings_from` makes.
        calls: a function of the command line -> the functions that it hands `arguments` to.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        trees = {name: ast.parse(source) for name, source in sources.items()}
        annotations = [
            (node.name, item.target.id, ast.unparse(item.annotation))
            for tree in trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        ]
        self.fields: dict[str, set[str]] = {}
        for owner, name, _ in annotations:
            if owner.endswith("Settings"):
                self.fields.setdefault(owner, set()).add(name)
        self._members: dict[str, set[str]] = {}
        for _, name, annotation in annotations:
            self._members.setdefault(name, set()).update(self._named_in(annotation))
        self.settings: set[tuple[str, str]] = set()
        self.arguments: dict[str, set[str]] = {}
        self.made: dict[str, set[str]] = {}
        self.calls: dict[str, set[str]] = {}
        for file, tree in trees.items():
            for owner, function in _functions(tree):
                scope = self._scope(owner, function, tree)
                if file.startswith("cli/"):
                    self._read_command(f"{file}:{function.name}", function, scope)
                elif function.name != VALIDATION:
                    self._read_stage(function, scope)

    def by_command(self, name: str) -> set[str]:
        """The options that a command's `_run` reads, itself or in what it calls."""
        reached: set[str] = set()
        waiting = {f"cli/commands/{name}.py:_run"}
        while waiting:
            function = waiting.pop()
            reached.add(function)
            called = self.calls.get(function, set())
            waiting |= {f for f in self.calls if f.split(":")[1] in called} - reached
        made = _union(self.made.get(function, ()) for function in reached)
        direct = _union(self.arguments.get(function, ()) for function in reached)
        return direct | {field for kind, field in self.settings if kind in made}

    def of_settings(self, kind: str) -> set[str]:
        """The fields of a settings class that a stage reads."""
        return {field for owner, field in self.settings if owner == kind}

    def _named_in(self, annotation: str) -> set[str]:
        return set(re.findall(r"\w+", annotation)) & self.fields.keys()

    def _scope(self, owner: str, function: ast.FunctionDef, tree: ast.Module) -> Scope:
        """What the names in a function are, those of nested functions included."""
        scope: dict[str, set[str]] = {"self": {owner} & self.fields.keys()}
        for node in (*tree.body, *ast.walk(function)):
            if isinstance(node, ast.arg) and node.annotation:
                scope[node.arg] = self._named_in(ast.unparse(node.annotation))
        for node in (*tree.body, *ast.walk(function)):
            for target, value in _assignments(node):
                scope[target] = self._classes(value, scope)
        return scope

    def _classes(self, value: ast.expr, scope: Scope) -> set[str]:
        """The settings classes that an expression may have."""
        match value:
            case ast.Name(id=name):
                return scope.get(name, set())
            case ast.Attribute(attr=name):
                return self._members.get(name, set())
            case ast.Call(func=ast.Name(id="settings_from"), args=[_, settings, *_]):
                return self._classes(settings, scope)
            case ast.Call(func=ast.Name(id="replace"), args=[settings, *_]):
                return self._classes(settings, scope)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return {name} & self.fields.keys()
            case ast.IfExp(body=one, orelse=other):
                return self._classes(one, scope) | self._classes(other, scope)
            case ast.BoolOp(values=values):
                return _union(self._classes(item, scope) for item in values)
        return set()

    def _read_stage(self, function: ast.FunctionDef, scope: Scope) -> None:
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                self.settings |= {(kind, node.attr) for kind in self._classes(node.value, scope)}

    def _read_command(self, name: str, function: ast.FunctionDef, scope: Scope) -> None:
        read, made, calls = set(), set(), set()
        for node in ast.walk(function):
            match node:
                case ast.Attribute(value=ast.Name(id="arguments"), attr=option, ctx=ast.Load()):
                    read.add(option)
                case ast.Call(func=ast.Name(id="settings_from")):
                    made |= self._classes(node, scope)
                case ast.Call(func=ast.Name(id=called), args=given):
                    if any(isinstance(item, ast.Name) and item.id == "arguments" for item in given):
                        calls.add(called)
        self.arguments[name], self.made[name], self.calls[name] = read, made, calls


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of a module, each with the class that it belongs to, or ""."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = node.name if isinstance(node, ast.ClassDef) else ""
        yield from ((owner, item) for item in inside if isinstance(item, ast.FunctionDef))


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement gives a value to, each with it: `a = 1` and `a, b = 1, 2`."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            pairs = zip(targets, values, strict=True)
            yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def _union(sets: Iterable[Iterable[str]]) -> set[str]:
    return {item for items in sets for item in items}


def options_of(command: str) -> set[str]:
    (subparsers,) = [a for a in make_parser(command)._actions if isinstance(a.choices, dict)]
    return {action.dest for action in subparsers.choices[command]._actions} - {"help"}


READS = Reads(SOURCES)


@pytest.mark.parametrize("command", [command.name for command in commands.ALL])
def test_every_option_of_a_command_is_read(command: str) -> None:
    assert options_of(command) - READS.by_command(command) == set()


@pytest.mark.parametrize("kind", READS.fields)
def test_every_setting_is_read(kind: str) -> None:
    assert READS.fields[kind] - READS.of_settings(kind) == set()


@pytest.mark.parametrize(
    ("line", "function", "names"),
    [
        ("predict --model m --input i --output o", predict,
         ("checkpoint", "subset", "postprocess")),
        ("evaluate --predictions p --labels l --results r.json", evaluate_folder,
         ("empty_as", "tolerance")),
    ],
)  # fmt: skip
def test_what_is_not_said_means_the_same_as_in_the_library(
    line: str, function: Callable[..., object], names: tuple[str, ...]
) -> None:
    said, parameters = vars(make_parser().parse_args(line.split())), inspect.signature(function)
    for name in names:
        assert said[name] == parameters.parameters[name].default


# The check itself --------------------------------------------------------------------------------


def with_change(file: str, old: str, new: str) -> Reads:
    assert SOURCES[file].count(old) >= 1
    return Reads({**SOURCES, file: SOURCES[file].replace(old, new)})


def test_the_settings_of_every_stage_are_found() -> None:
    assert {"PlannerSettings", "TrainingSettings", "AugmentationSettings", "LoaderSettings",
            "InferenceSettings", "ComputeSettings"} <= READS.fields.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "unread"),
    [
        ("cli/commands/predict.py", "arguments.checkpoint", '"last"', "checkpoint"),
        ("cli/commands/preprocess.py", "arguments.workers", "1", "workers"),
        ("cli/commands/predict.py", "settings_from(arguments, InferenceSettings())",
         "InferenceSettings()", "overlap"),
        ("cli/commands/train.py", "settings_from(arguments, defaults.augmentation)",
         "defaults.augmentation", "flip_probability"),
    ],
)  # fmt: skip
def test_an_option_that_a_command_forgets_is_seen(
    file: str, old: str, new: str, unread: str
) -> None:
    command = Path(file).stem
    assert unread in options_of(command)
    assert unread not in with_change(file, old, new).by_command(command)


@pytest.mark.parametrize(
    ("file", "old", "kind", "field"),
    [
        ("training/settings.py", "    fold: int = 0", "TrainingSettings", "patience"),
        ("inference/settings.py", "    tta: bool = False", "InferenceSettings", "patience"),
        # Others have a field of this name, and read it.
        ("inference/settings.py", "    tta: bool = False", "InferenceSettings", "seed"),
    ],
)
def test_a_setting_that_no_stage_reads_is_seen(file: str, old: str, kind: str, field: str) -> None:
    reads = with_change(file, old, f"    {field}: int = 1\n{old}")
    assert reads.of_settings(kind) == READS.of_settings(kind)
    assert reads.fields[kind] - READS.fields[kind] == {field}


def test_to_validate_a_setting_is_not_to_read_it() -> None:
    reads = Reads({"stage.py": (
        "class StageSettings:\n"
        "    size: int = 1\n"
        "    def __post_init__(self): assert self.size > 0\n"
    )})  # fmt: skip
    assert reads.of_settings("StageSettings") == set()


@pytest.mark.parametrize(
    "code",
    [
        "def run(settings: StageSettings): return settings.size",
        "def run(settings: 'StageSettings | None'): return settings.size",
        "def run():\n    def inner(s: StageSettings): return s.size\n    return inner",
        "def run():\n    chosen = StageSettings()\n    return chosen.size",
        "class Run:\n    chosen: StageSettings\n    def go(self): return self.chosen.size",
        "def run(s: StageSettings):\n    number, other = 1, s\n    return other.size",
        "def run(s: StageSettings):\n    other = replace(s, size=2)\n    return other.size",
    ],
)
def test_a_setting_is_read_in_each_of_these_ways(code: str) -> None:
    reads = Reads({"stage.py": f"class StageSettings:\n    size: int = 1\n{code}\n"})
    assert reads.of_settings("StageSettings") == {"size"}
