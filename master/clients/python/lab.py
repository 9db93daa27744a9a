"""The cluster that the flows are played on: its masters, a client for each, and namespaces of one test."""

import json
import os
import signal
import subprocess
import time
import unittest
import uuid
from contextlib import contextmanager

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

PATIENCE_S = 30


def masters():
    """Every master: its name, its URL, and the file that holds its process id."""
    with open(os.environ["MASTERS"], encoding="utf-8") as file:
        return json.load(file)


def api_client(url=None, token=None):
    """An administrator's client by the kubeconfig, or a token's bearer, of the first master or another one."""
    configuration = client.Configuration()
    config.load_kube_config(client_configuration=configuration)
    if url:
        configuration.host = url
    if token:
        configuration.cert_file = configuration.key_file = None
        configuration.api_key = {"authorization": f"Bearer {token}"}
    return client.ApiClient(configuration)


def until(what, condition):
    """Asks again until the condition holds; says what was waited for if it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.05)
    return value


class Flow(unittest.TestCase):
    """A test with a namespace of its own."""

    @classmethod
    def setUpClass(cls):
        config.load_kube_config()
        cls.core = client.CoreV1Api()
        cls.apps = client.AppsV1Api()
        cls.namespace = f"python-{uuid.uuid4().hex[:8]}"
        cls.core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=cls.namespace)))

    @classmethod
    def tearDownClass(cls):
        cls.core.delete_namespace(cls.namespace)

    @contextmanager
    def refused(self, code, reason, words=""):
        """What is done within must end with this code and a Status that says why."""
        with self.assertRaises(ApiException) as caught:
            yield caught
        error = caught.exception
        self.assertEqual(error.status, code, error)
        status = json.loads(error.body)
        self.assertEqual(
            (status["kind"], status["apiVersion"], status["status"], status.get("reason"), status["code"]),
            ("Status", "v1", "Failure", reason, code),
        )
        self.assertIn(words, status["message"])

    def config_map(self, name, data=None, **metadata):
        """A config map of this test, not yet created."""
        metadata = client.V1ObjectMeta(name=name, **metadata)
        return client.V1ConfigMap(metadata=metadata, data=data or {"key": "value"})


def kill(master):
    """Ends a master as a power cut does."""
    with open(master["pid_file"], encoding="utf-8") as file:
        os.kill(int(file.read()), signal.SIGKILL)


def start_again():
    """Brings back whichever master is down."""
    subprocess.run(["kctl", "start"], check=True, capture_output=True, timeout=120)
