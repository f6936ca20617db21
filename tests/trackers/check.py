"""Trackers told by the built programs: event files read back by `tensorboard`, a real server of MLflow asked by `mlflow`,
and ClearML's requests held against the schemas of the `clearml` package. Then the same with servers that are down, come
back, were never there, or refuse.

    python tests/trackers/check.py target/release/engine

needs what tests/peft/trackers.txt lists, and the built programs. Exits with 1 and says what is wrong.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import clearml_server
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

ROOT = Path(__file__).resolve().parent.parent.parent
PIPELINE = """
name: shown
stages:
  base: {kind: download, from: {path: model}}
  raw: {kind: download, from: {path: glue}}
  rows:
    kind: preprocess
    input: raw
    template: pairs/sentences.jinja
    splits: {train: {from: train, take: 40}, test: {from: validation, take: 20}}
  tokens: {kind: tokenize, input: rows, tokenizer: base, form: text, max_length: 64, overflow: {truncate: prompt}}
  tuned:
    kind: train
    matrix: {rank: [1, 2]}
    model: base
    data: tokens
    objective: classify
    adapter: {lora: {rank: "${matrix.rank}", alpha: 4, targets: [attention.q, attention.v]}}
    steps: STEPS
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-3}}
    validate: {on: test, every: {steps: 5}, keep: {best: loss}}
    checkpoint: {steps: 5}
    resources: {cpu: 1}
  scores: {kind: evaluate, model: tuned, data: tokens/test, protocol: classify, metrics: [accuracy]}
  report: {kind: report, inputs: [tuned, scores], table: {rows: [rank]}}
"""
RUNS = {"tuned[rank=1]", "tuned[rank=2]", "scores[rank=1]", "scores[rank=2]", "report"}


class Project:
    """A folder with the pipeline, which is run by the real programs."""

    def __init__(self, engine, steps=20):
        self.engine = Path(engine).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="trackers-"))
        (self.folder / "pipelines").mkdir()
        shutil.copytree(ROOT / "templates/pairs", self.folder / "templates/pairs")
        shutil.copytree(ROOT / "datasets/tiny_models/roberta", self.folder / "model")
        shutil.copytree(ROOT / "datasets/glue/mrpc", self.folder / "glue")
        (self.folder / "pipelines/shown.yaml").write_text(PIPELINE.replace("STEPS", str(steps)))

    def start(self, track, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "ENGINE_TRACK": track} | variables
        command = [self.engine, "run", "pipelines/shown.yaml"]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, track, **variables):
        begun = time.monotonic()
        process = self.start(track, **variables)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said, time.monotonic() - begun

    def history(self, member):
        lines = (self.folder / "outputs/shown/tuned" / member / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def result(self, path):
        return json.loads((self.folder / "outputs/shown" / path).read_text())

    def remove(self):
        shutil.rmtree(self.folder)


def same(ours, theirs, what):
    assert len(ours) == len(theirs), f"{what}: {len(theirs)} instead of {len(ours)}"
    for (step, value), (their_step, their_value) in zip(ours, theirs):
        assert step == their_step and abs(value - their_value) <= 1e-6 * max(1, abs(value)), f"{what}: {step} {value} {their_step} {their_value}"


def steps_of(history, name):
    return [(line["step"], line[name]) for line in history if name in line]


def tensorboard(project):
    for rank in "12":
        member = f"rank={rank}"
        events = EventAccumulator(str(project.folder / "outputs/tensorboard/shown/tuned" / member), size_guidance={"scalars": 0}).Reload()
        history = project.history(member)
        for name in ("loss", "learning_rate", "validation_loss"):
            found = [(event.step, event.value) for event in events.Scalars(name)]
            same(steps_of(history, name), found, f"tensorboard {name}")
        times = [event.wall_time for event in events.Scalars("loss")]
        assert times == sorted(times) and abs(times[-1] - time.time()) < 600, "times"
        plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
        assert plugin.plugin_name == "hparams"
        settings = plugin_data_pb2.HParamsPluginData.FromString(plugin.content).session_start_info.hparams
        assert settings["adapter.lora.rank"].number_value == int(rank) and settings["optimizer.adamw.learning_rate"].number_value == 1e-3
        ended = events.summary_metadata["_hparams_/session_end_info"].plugin_data.content
        assert plugin_data_pb2.HParamsPluginData.FromString(ended).session_end_info.status == 1
        scores = EventAccumulator(str(project.folder / "outputs/tensorboard/shown/scores" / member)).Reload()
        expected = project.result(f"scores/{member}/metrics.json")["headline"]["accuracy.accuracy"]
        assert abs(scores.Scalars("accuracy/accuracy")[-1].value - expected) < 1e-4


class Mlflow:
    """A server of MLflow in a folder of its own."""

    def __init__(self, folder, port=None):
        self.folder = folder
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        command = [Path(sys.executable).parent / "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.stop)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.3)
        raise SystemExit("mlflow server does not start")

    def runs(self):
        os.environ["MLFLOW_TRACKING_URI"] = self.address
        client = MlflowClient(self.address)
        experiment = client.get_experiment_by_name("shown")
        return client, ({run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=1000)} if experiment else {}), \
            (len(client.search_runs([experiment.experiment_id], max_results=1000)) if experiment else 0)

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mlflow(project, server):
    client, runs, count = server.runs()
    assert set(runs) == RUNS and count == len(RUNS), (sorted(runs), count)
    for rank in "12":
        run, history = runs[f"tuned[rank={rank}]"], project.history(f"rank={rank}")
        assert run.info.status == "FINISHED", run.info.status
        assert run.data.params["adapter.lora.rank"] == rank and run.data.params["rank"] == rank
        assert run.data.tags["rank"] == rank and run.data.tags["engine.pipeline"] == "shown"
        for name in ("loss", "grad_norm", "validation_loss"):
            found = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
            expected = steps_of(history, name)
            same(expected, sorted(found), f"mlflow {name}")
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"adapter_config.json", "adapter_model.safetensors", "summary.json"} <= names, names
        kept = client.download_artifacts(run.info.run_id, "adapter_model.safetensors", tempfile.mkdtemp())
        own = project.folder / f"outputs/shown/tuned/rank={rank}/adapter_model.safetensors"
        assert Path(kept).read_bytes() == own.read_bytes()
        score = runs[f"scores[rank={rank}]"]
        assert score.data.metrics["accuracy.accuracy"] == project.result(f"scores/rank={rank}/metrics.json")["headline"]["accuracy.accuracy"]
    assert "report.html" in {file.path for file in client.list_artifacts(runs["report"].info.run_id)}


def clearml(project, state):
    assert not state.faults, state.faults
    tasks = {task["name"]: task for task in state.tasks.values()}
    assert set(tasks) == RUNS and len(state.tasks) == len(RUNS), sorted(tasks)
    assert [one["name"] for one in state.projects.values()] == ["shown"]
    for rank in "12":
        task = tasks[f"tuned[rank={rank}]"]
        assert (task["status"], task["type"]) == ("completed", "training")
        assert task["hyperparams"]["settings"]["adapter.lora.rank"]["value"] == rank
        assert task["hyperparams"]["axes"]["rank"]["value"] == rank
        mine = [event for event in state.events if event["task"] == task["id"]]
        found = sorted((event["iter"], event["value"]) for event in mine if event["variant"] == "loss" and event["iter"] > 0)
        same(steps_of(project.history(f"rank={rank}"), "loss"), found, "clearml loss")
        assert any(event["iter"] == -(2**31) and event["variant"] == "summary.steps" and event["value"] == 20 for event in mine)
        model = state.models[task["model"]["model"]]
        path = f"shown/{task['id']}/artifacts/adapter_model.safetensors"
        assert model["uri"].endswith(path) and model["task"] == task["id"]
        own = project.folder / f"outputs/shown/tuned/rank={rank}/adapter_model.safetensors"
        assert state.files[path] == own.read_bytes()
        assert tasks[f"scores[rank={rank}]"]["type"] == "testing"
    assert "report.html" in tasks["report"]["artifacts"]


def main(engine):
    folder = Path(tempfile.mkdtemp(prefix="trackers-server-"))
    is_open = [True]
    state = clearml_server.State()
    api = clearml_server.serve(state, lambda: is_open[0])
    address = f"http://127.0.0.1:{api.server_port}"
    keys = {"CLEARML_API_HOST": address, "CLEARML_FILES_HOST": address,
            "CLEARML_API_ACCESS_KEY": clearml_server.KEYS[0], "CLEARML_API_SECRET_KEY": clearml_server.KEYS[1]}
    server = Mlflow(folder)
    variables = keys | {"MLFLOW_TRACKING_URI": server.address}

    project = Project(engine)
    said, _ = project.run("tensorboard,mlflow,clearml", **variables)
    assert "not sent" not in said, said
    tensorboard(project), mlflow(project, server), clearml(project, state)
    print("tensorboard, mlflow and clearml have what a run did")

    calls, size = len(state.calls), sum(f.stat().st_size for f in (project.folder / "outputs/tensorboard").rglob("*tfevents*"))
    project.run("tensorboard,mlflow,clearml", **variables)
    assert len(state.calls) == calls and mlflow(project, server) is None
    assert size == sum(f.stat().st_size for f in (project.folder / "outputs/tensorboard").rglob("*tfevents*"))
    print("a second run sends nothing")

    # What was made before a tracker was on is sent when it is; and a folder that is gone is written anew.
    shutil.rmtree(project.folder / "outputs/tensorboard")
    project.run("tensorboard")
    tensorboard(project)
    project.remove()

    # Down from the beginning: nothing waits, it is said once; then up.
    server.stop()
    is_open[0] = False
    state.__init__()
    shutil.rmtree(folder)
    folder.mkdir()
    project = Project(engine)
    said, seconds = project.run("mlflow,clearml", **variables)
    assert said.count("does not answer") == 1 and said.count("out of order") == 1 and said.count("not sent") == 2, said
    _, without = Project(engine).run("off")
    assert seconds < without + 10, (seconds, without)
    is_open[0] = True
    server = Mlflow(folder, server.port)
    said, _ = project.run("mlflow,clearml", **variables)
    assert "not sent" not in said, said
    mlflow(project, server), clearml(project, state)
    print(f"servers that were down get all by the next run ({seconds:.1f} s beside {without:.1f} s without)")
    project.remove()

    # An engine that is killed while it trains and tells; servers that go away meanwhile.
    shutil.rmtree(folder / "artifacts", ignore_errors=True)
    state.__init__()
    project = Project(engine, steps=20)
    text = project.folder / "pipelines/shown.yaml"
    name = "shown_killed"
    text.write_text(text.read_text().replace("name: shown", f"name: {name}").replace("steps: 20", "steps: 400"))
    process = project.start("mlflow,clearml,tensorboard", **variables)
    deadline = time.monotonic() + 120
    while not any(event["iter"] >= 5 for event in state.events):
        assert time.monotonic() < deadline and process.poll() is None, "no figure comes while it trains"
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert not any(task["status"] == "completed" for task in state.tasks.values())
    said, _ = project.run("mlflow,clearml,tensorboard", **variables)
    assert not state.faults, state.faults
    assert len(state.tasks) == len(RUNS), sorted(task["name"] for task in state.tasks.values())
    for rank in "12":
        lines = (project.folder / f"outputs/{name}/tuned/rank={rank}/history.jsonl").read_text().splitlines()
        expected = steps_of([json.loads(line) for line in lines], "loss")
        task = next(task for task in state.tasks.values() if task["name"] == f"tuned[rank={rank}]")
        found = {event["iter"]: event["value"] for event in state.events if event["task"] == task["id"] and event["variant"] == "loss"}
        same(expected, sorted((step, value) for step, value in found.items() if step > 0), "after a kill")
        events = EventAccumulator(str(project.folder / f"outputs/tensorboard/{name}/tuned/rank={rank}"), size_guidance={"scalars": 0}).Reload()
        found = {event.step: event.value for event in events.Scalars("loss")}
        same(expected, sorted(found.items()), "tensorboard after a kill")
    print("figures come while it trains; a killed run goes on as the same run")

    # Keys go to no server that only the file names.
    state.__init__()
    stranger = Project(engine)
    text = stranger.folder / "pipelines/shown.yaml"
    text.write_text(text.read_text() + f'track: {{clearml: {{api: "{address}"}}}}\n')
    said, _ = stranger.run("", CLEARML_API_ACCESS_KEY=keys["CLEARML_API_ACCESS_KEY"], CLEARML_API_SECRET_KEY=keys["CLEARML_API_SECRET_KEY"])
    assert "refuses who asks (401)" in said and not state.calls, said
    print("a server that only the file names sees no key")
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
