"""A run's folder and its `run.json`: all that is needed to go on, to evaluate and to look at it."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mbrl_node.agent.agent import Agent, AgentConfig
from mbrl_node.agent.environment import Environment, UnsuitableEnvironment, system_of, task_of
from mbrl_node.data import RunStore, StoreError
from mbrl_node.learning import lock_run
from mbrl_node.planning import ActionSpace
from mbrl_node.spec import SpecError, load_spec
from mbrl_node.spec.errors import one_line
from mbrl_node.spec.robot import DEFAULT_TASK
from mbrl_node.spec.system import Quaternion, System
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import RewardFunction, TerminationFunction

FILE = "run.json"
F = TypeVar("F", bound=Callable[..., Any])


class RunError(Exception):
    """A run cannot be made, continued or used; the message is one line that says why."""


class RunInfo(BaseModel):
    """What a run was started with; kept in its `run.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(description="id of the Gymnasium environment")
    env_kwargs: dict[str, Any] = Field({}, description="what it is made with")
    steps: int = Field(ge=1, description="of the environment, in total; a later call may change it")
    seed: int = 0
    config: AgentConfig = AgentConfig()
    angles: tuple[int, ...] = Field((), description="columns of the observation, in rad")
    quaternions: tuple[Quaternion, ...] = Field((), description="columns of x, y, z, w of each")
    reward: str | None = Field(None, description="module:function; null: the robot's, or learned")
    termination: str | None = Field(None, description="likewise")
    version: str = Field(default_factory=lambda: version("mbrl-node"), description="of mbrl-node")

    def write(self, run_dir: Path) -> None:
        """Writes `run.json`, completely or not at all.

        Raises:
            RunError: it cannot be written.
        """
        part = run_dir / f".{FILE}.{os.getpid()}.part"
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            with open(part, "w", encoding="utf-8") as file:
                file.write(self.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, run_dir / FILE)
        except OSError as error:
            raise RunError(f"{run_dir}: cannot be written: {error.strerror}") from error
        except ValueError as error:  # a keyword argument that is no plain value
            raise RunError(f"env_kwargs cannot be kept in {FILE}: {error}") from error

    @classmethod
    def read(cls, run_dir: Path) -> RunInfo:
        """What a folder's `run.json` says.

        Raises:
            RunError: there is no such folder or file, or it is damaged.
        """
        path = run_dir / FILE
        if not run_dir.is_dir():
            raise RunError(f"{run_dir}: no such folder")
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunError(f"{run_dir}: has no {FILE}: `mbrl train` did not make it") from None
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"{path}: is damaged: {where}: {first['msg']}") from error
        except ValueError as error:
            raise RunError(f"{path}: is damaged: {error}") from error

    def make_env(self, render_mode: str | None = None) -> Environment:
        """The environment, made anew; see `make_env`."""
        return make_env(self.env, self.env_kwargs, render_mode)

    def task(
        self,
        env: Environment,
        reward: RewardFunction | str | None = None,
        termination: TerminationFunction | str | None = None,
    ) -> Task:
        """What is to be done in it.

        Args:
            reward, termination: instead of those that are named here.

        Raises:
            RunError: a function that is named cannot be imported.
        """
        task = task_of(env)
        reward, termination = reward or self.reward, termination or self.termination
        return replace(
            task,
            reward=_function(reward) or task.reward,
            termination=_function(termination) or task.termination,
        )

    def parts(
        self,
        env: Environment,
        reward: RewardFunction | str | None = None,
        termination: TerminationFunction | str | None = None,
        device: str = "cpu",
    ) -> tuple[System, Task]:
        """What an agent is made for; all is tried out that could be wrong with it.

        Raises:
            RunError: it does not fit together, or torch has no such device.
        """
        check_device(device)
        system, task = self.system(env), self.task(env, reward, termination)
        try:
            self.config.make_planner(ActionSpace.of(system), system.dt, self.seed)
        except ValueError as error:
            raise RunError(one_line(error)) from error
        return system, task

    def agent(
        self, run_dir: Path, system: System, task: Task, device: str = "cpu", learn: bool = True
    ) -> Agent:
        """An agent on the run's folder.

        Raises:
            RunError: the folder holds something else, or cannot be used.
        """
        try:
            return Agent(system, task, run_dir, self.config, self.seed, device, learn)
        except (StoreError, OSError) as error:
            raise RunError(one_line(error)) from error

    def system(self, env: Environment) -> System:
        """What its spaces are.

        Raises:
            RunError: the agent cannot work in it.
        """
        try:
            return system_of(env, self.angles, self.quaternions)
        except UnsuitableEnvironment as error:
            raise RunError(str(error)) from error


def system_and_task(
    run_dir: Path,
    robot: str | None = None,
    reward: str | None = None,
    termination: str | None = None,
    task_name: str | None = None,
) -> tuple[System, Task]:
    """What a run was made with: by `train`, or by the learner node of a robot.

    Args:
        robot: its name or file; None: the environment of `run.json`, or where there is none, the
            robot by the name in the run's database.
        reward, termination: `module:function`, instead of those that the run was made with.
        task_name: of the robot's task, or its file; None: that of the newest session.

    Raises:
        RunError: there is no such run, its environment cannot be used, or its task is not known.
        SpecError: the robot is not known, or its file is not valid.
    """
    if robot is None and (run_dir / FILE).exists():
        info = RunInfo.read(run_dir)
        if task_name:
            raise RunError(f"{run_dir}: is a run of {info.env}: --task needs --robot beside it")
        env = info.make_env()
        try:
            return info.system(env), info.task(env, reward, termination)
        finally:
            env.close()
    stored_task = ""
    if robot is None:
        robot, stored_task = _stored(run_dir)
    elif task_name is None:
        with suppress(RunError):  # whoever reads the run will say so
            _, stored_task = _stored(run_dir)
    try:
        spec = load_spec(robot, task=stored_task if task_name is None else task_name)
    except SpecError as error:
        if not stored_task or task_name is not None:
            raise
        raise RunError(f"{error}; name the run's task with --task") from error
    return spec, Task.of(spec)


def _stored(run_dir: Path) -> tuple[str, str]:
    """The robot of a run, and the task of its newest session, empty where it had no name.

    Raises:
        RunError: it cannot be read.
    """
    path = run_dir / "transitions.db"
    if not path.is_file():
        raise RunError(f"{run_dir}: is not the folder of a run: it has no {path.name}")
    try:
        store = RunStore(path, read_only=True)
    except StoreError as error:
        raise RunError(f"{error}; name the robot with --robot") from error
    *_, task = ("", *(session.task for session in store.tasks.values()))
    store.close()
    return store.robot, "" if task == DEFAULT_TASK else task


def make_env(
    name: str, kwargs: dict[str, Any] | None = None, render_mode: str | None = None
) -> Environment:
    """Makes a Gymnasium environment from its id, `[module:]id`.

    Raises:
        RunError: there is no such environment, or it cannot be made.
    """
    options = dict(kwargs or {})
    if render_mode is not None:
        options["render_mode"] = render_mode
    try:
        return gymnasium.make(name, **options)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        if render_mode is not None and "render_mode" in str(error):
            raise RunError(f"{name}: draws no pictures (render_mode {render_mode!r})") from error
        hint = f"; robots of this project are sim:{name}" if name.startswith("mbrl/") else ""
        raise RunError(f"{name}: cannot be made: {one_line(error)}{hint}") from error


def _function(given: F | str | None) -> F | None:
    """A function, where it is named that of this `module:function`."""
    if not isinstance(given, str):
        return given
    module, colon, attribute = given.partition(":")
    if not colon or not module or not attribute:
        raise RunError(f"{given!r} is not MODULE:FUNCTION")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise RunError(f"{given}: cannot be imported: {error}") from error
    if not callable(found):
        raise RunError(f"{given}: is not a function")
    result: F = found
    return result


def name_of(given: Callable[..., Any] | str | None) -> str | None:
    """The `module:function` under which a function is kept."""
    if given is None or isinstance(given, str):
        return given
    module = getattr(given, "__module__", type(given).__module__)
    return f"{module}:{getattr(given, '__qualname__', type(given).__qualname__)}"


def check_device(name: str) -> None:
    """Asks torch for a device.

    Raises:
        RunError: it has no such device.
    """
    try:
        torch.zeros((), device=name)
    except (AssertionError, RuntimeError) as error:
        reason = one_line(error).partition(" For debugging")[0]
        raise RunError(f"device {name!r} cannot be used: {reason}") from error


@contextmanager
def only_learner(run_dir: Path) -> Iterator[None]:
    """Keeps other learners away from a run, those of ROS too, until this process ends at the
    latest.

    Raises:
        RunError: there is one already, or the folder cannot be written.
    """
    try:
        lock = lock_run(run_dir)
    except BlockingIOError as error:
        raise RunError(f"{run_dir}: another process is learning in this run") from error
    except OSError as error:
        raise RunError(f"{run_dir}: cannot be written: {error.strerror}") from error
    with lock:
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks this small are faster in one thread, several times so where others work beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
