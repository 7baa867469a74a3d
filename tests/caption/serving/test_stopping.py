"""Ctrl-C ends the demo although a caption is being computed, and its visitors get an answer."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra `demo`")

ROOT = Path(__file__).resolve().parents[3]
SLOW = """
import runpy, sys, time
from caption.captioner import Captioner

def caption(*rest, **more):
    print("captioning", flush=True)
    time.sleep(3600)

Captioner.captions_of_pixels = caption
runpy.run_module("caption.demo", run_name="__main__", alter_sys=True)
"""


def post(port, body):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    client.request("POST", "/api/caption", body)
    answer = client.getresponse()
    return answer.status, json.loads(answer.read())["error"]


def test_ctrl_c_answers_who_waits_and_ends_the_process(tiny):
    """One caption takes an hour, others wait behind it, and one picture has half arrived."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--run", tiny.runs["topdown"], "--port", port, "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, words)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        while "http://" not in process.stderr.readline():
            assert process.poll() is None
        picture = sorted((tiny.data / "images").iterdir())[0].read_bytes()
        with ThreadPoolExecutor(3) as visitors, socket.create_connection(("127.0.0.1", port)) as us:
            us.sendall(b"POST /api/caption HTTP/1.1\r\nHost: localhost\r\n")
            us.sendall(b"Content-Length: 100000\r\n\r\nhalf")
            answers = [visitors.submit(post, port, picture) for _ in range(3)]
            assert process.stdout.readline() == "captioning\n"
            until = time.monotonic() + 60
            while waiting(port) < 3 and time.monotonic() < until:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, messages = process.communicate(timeout=120)
            assert [answer.result() for answer in answers] == [(503, "the demo was stopped")] * 3
    finally:
        process.kill()
    assert process.returncode == 130 and "stopped" in messages and "Traceback" not in messages


def waiting(port):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    client.request("GET", "/health")
    return json.loads(client.getresponse().read())["waiting"]
