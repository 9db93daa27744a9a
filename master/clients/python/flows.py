"""What people do with the stock Python client, on three masters and a node.

`../run.sh` starts the cluster and says where it is (see `lab.py`); each class is one flow.
"""

import base64
import json
import logging
import threading
import unittest

from kubernetes import client, dynamic, informer, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import leaderelection
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import portforward, stream
from kubernetes.stream.ws_client import create_websocket, get_websocket_url

import lab

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def deployment(name, replicas=1):
    """A deployment whose pods sleep until they are told to end."""
    sleep = {"name": "sleep", "image": "busybox", "command": ["sh", "-c", "trap exit TERM; sleep 3600 & wait"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [sleep]}},
        },
    }


class Objects(lab.Flow):
    """Create, get, list, update, patch and delete, by one name and by many."""

    def test_create_read_replace_delete(self):
        made = self.core.create_namespaced_config_map(self.namespace, self.config_map("plain"))
        self.assertTrue(made.metadata.uid)
        self.assertEqual(made.metadata.managed_fields[0].operation, "Update")
        with self.refused(409, "AlreadyExists", 'configmaps "plain" already exists'):
            self.core.create_namespaced_config_map(self.namespace, self.config_map("plain"))
        read = self.core.read_namespaced_config_map("plain", self.namespace)
        self.assertEqual(read.metadata.resource_version, made.metadata.resource_version)

        read.data = {"key": "other"}
        replaced = self.core.replace_namespaced_config_map("plain", self.namespace, read)
        self.assertNotEqual(replaced.metadata.resource_version, made.metadata.resource_version)
        with self.refused(409, "Conflict", "the object has been modified"):
            self.core.replace_namespaced_config_map("plain", self.namespace, read)

        stale = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="somebody-else"))
        with self.refused(409, "Conflict", "does not match the UID in record"):
            self.core.delete_namespaced_config_map("plain", self.namespace, body=stale)
        answer = self.core.delete_namespaced_config_map("plain", self.namespace)
        self.assertEqual((answer.status, answer.details.name), ("Success", "plain"))
        with self.refused(404, "NotFound", 'configmaps "plain" not found'):
            self.core.read_namespaced_config_map("plain", self.namespace)

    def test_what_is_wrong_is_named(self):
        with self.refused(422, "Invalid", "metadata.name") as caught:
            self.core.create_namespaced_config_map(self.namespace, self.config_map("No_Good"))
        causes = json.loads(caught.exception.body)["details"]["causes"]
        self.assertEqual((causes[0]["reason"], causes[0]["field"]), ("FieldValueInvalid", "metadata.name"))
        with self.refused(404, "NotFound", "not found"):
            self.core.create_namespaced_config_map("nowhere", self.config_map("a"))
        with self.refused(400, "BadRequest", "strict decoding error: unknown field"):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {}}
            self.core.create_namespaced_config_map(self.namespace, body, field_validation="Strict")

    def test_dry_run_leaves_nothing(self):
        body = self.config_map("dry")
        made = self.core.create_namespaced_config_map(self.namespace, body, dry_run="All")
        self.assertTrue(made.metadata.uid)
        with self.refused(404, "NotFound"):
            self.core.read_namespaced_config_map("dry", self.namespace)

    def test_lists_come_in_pages_and_go_at_once(self):
        labels = {"set": "pages"}
        for number in range(25):
            body = self.config_map(f"page-{number:02}", labels=labels)
            self.core.create_namespaced_config_map(self.namespace, body)
        names, token, versions = [], None, set()
        while True:
            page = self.core.list_namespaced_config_map(
                self.namespace, label_selector="set=pages", limit=10, _continue=token
            )
            names += [item.metadata.name for item in page.items]
            versions.add(page.metadata.resource_version)
            token = page.metadata._continue
            if not token:
                break
        self.assertEqual(names, [f"page-{number:02}" for number in range(25)])
        self.assertEqual(len(versions), 1)
        with self.refused(400, "BadRequest", "continue key is not valid"):
            self.core.list_namespaced_config_map(self.namespace, _continue="nonsense")

        one = self.core.list_namespaced_config_map(self.namespace, field_selector="metadata.name=page-07")
        self.assertEqual(len(one.items), 1)
        self.core.delete_collection_namespaced_config_map(self.namespace, label_selector="set=pages")
        rest = self.core.list_namespaced_config_map(self.namespace, label_selector="set=pages")
        self.assertEqual(rest.items, [])

    def test_patches_of_every_kind(self):
        self.apps.create_namespaced_deployment(self.namespace, deployment("patched", replicas=0))
        patch = lambda body, **how: self.apps.patch_namespaced_deployment("patched", self.namespace, body, **how)

        after = patch([{"op": "add", "path": "/metadata/labels", "value": {"by": "json"}}])
        self.assertEqual(after.metadata.labels, {"by": "json"})
        with self.refused(422, "Invalid", "test"):
            patch([{"op": "test", "path": "/metadata/labels/by", "value": "none"}])
        after = patch({"metadata": {"labels": {"by": None, "and": "merge"}}}, _content_type=MERGE)
        self.assertEqual(after.metadata.labels, {"and": "merge"})

        # By the names of the list, not in its place.
        second = {"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "busybox"}]}}}}
        after = patch(second, _content_type=STRATEGIC)
        self.assertEqual({c.name for c in after.spec.template.spec.containers}, {"sleep", "second"})
        after = patch({"spec": {"paused": True}})
        self.assertTrue(after.spec.paused)

        applied = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1, "paused": True}}
        with self.refused(409, "Conflict", "conflict"):
            patch(applied, _content_type=APPLY, field_manager="flows")
        after = patch(applied, _content_type=APPLY, field_manager="flows", force=True)
        self.assertEqual(after.spec.replicas, 1)
        owners = {entry.manager: entry.operation for entry in after.metadata.managed_fields}
        self.assertEqual(owners["flows"], "Apply")
        with self.refused(415, "UnsupportedMediaType"):
            patch({}, _content_type="application/nonsense+json")

    def test_what_a_file_says_is_made(self):
        service = {"ports": [{"port": 80}], "selector": {"app": "filed"}}
        documents = [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "filed"}, "spec": service},
            deployment("filed", replicas=0),
        ]
        made = utils.create_from_yaml(client.ApiClient(), yaml_objects=documents, namespace=self.namespace)
        self.assertEqual(made[0][0].spec.type, "ClusterIP")
        with self.assertRaises(utils.FailToCreateError):
            utils.create_from_yaml(client.ApiClient(), yaml_objects=documents, namespace=self.namespace)
        utils.create_from_yaml(client.ApiClient(), yaml_objects=documents, namespace=self.namespace, apply=True)


class Watching(lab.Flow):
    """Watches that start, end and go on."""

    def events(self, **how):
        """What happens to this flow's config maps, as (type, name), until the one called `end`."""
        watcher, seen = watch.Watch(), []
        for event in watcher.stream(
            self.core.list_namespaced_config_map, self.namespace, label_selector="watched", **how
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if seen[-1] == ("ADDED", "end"):
                watcher.stop()
        return seen, watcher.resource_version

    def test_nothing_is_missed_between_two_watches(self):
        make = lambda name: self.core.create_namespaced_config_map(
            self.namespace, self.config_map(name, labels={"watched": ""})
        )
        make("first")
        start = self.core.list_namespaced_config_map(self.namespace).metadata.resource_version
        make("second")
        self.core.patch_namespaced_config_map("second", self.namespace, {"data": {"key": "new"}})
        self.core.delete_namespaced_config_map("first", self.namespace)
        make("end")
        seen, version = self.events(resource_version=start)
        self.assertEqual(
            seen, [("ADDED", "second"), ("MODIFIED", "second"), ("DELETED", "first"), ("ADDED", "end")]
        )
        self.core.delete_namespaced_config_map("end", self.namespace)
        make("end")
        seen, _ = self.events(resource_version=version)
        self.assertEqual(seen, [("DELETED", "end"), ("ADDED", "end")])

        # Without a version: what is there; with a time limit: until then.
        seen = watch.Watch().stream(
            self.core.list_namespaced_config_map, self.namespace, label_selector="watched", timeout_seconds=1
        )
        self.assertEqual({event["object"].metadata.name for event in seen}, {"second", "end"})

    def test_what_is_no_version_is_refused(self):
        with self.refused(500, None, "resourceVersion: Invalid value"):
            list(watch.Watch().stream(self.core.list_namespaced_config_map, self.namespace, resource_version="x"))

    def test_an_informer_keeps_up(self):
        changes = []
        cache = informer.SharedInformer(
            self.core.list_namespaced_config_map, namespace=self.namespace, label_selector="informed"
        )
        for kind in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            cache.add_event_handler(kind, lambda item, kind=kind: changes.append((kind, item.metadata.name)))
        body = self.config_map("known", labels={"informed": ""})
        self.core.create_namespaced_config_map(self.namespace, body)
        cache.start()
        lab.until("the informer lists", lambda: changes)
        self.core.patch_namespaced_config_map("known", self.namespace, {"data": {"key": "new"}})
        self.core.delete_namespaced_config_map("known", self.namespace)
        lab.until("the informer sees it go", lambda: len(changes) >= 3)
        cache.stop()
        self.assertEqual(changes, [("ADDED", "known"), ("MODIFIED", "known"), ("DELETED", "known")])
        self.assertEqual(cache.cache.list(), [])


class Workloads(lab.Flow):
    """Deployments, what they own, and what goes with them."""

    def test_rollout_scale_and_clean_up(self):
        self.apps.create_namespaced_deployment(self.namespace, deployment("web", replicas=2))
        ready = lambda: self.apps.read_namespaced_deployment_status("web", self.namespace).status
        lab.until("two pods are available", lambda: ready().available_replicas == 2)
        scale = self.apps.read_namespaced_deployment_scale("web", self.namespace)
        self.assertEqual((scale.kind, scale.spec.replicas, scale.status.selector), ("Scale", 2, "app=web"))
        scale.spec.replicas = 1
        self.apps.replace_namespaced_deployment_scale("web", self.namespace, scale)
        lab.until("one pod is left", lambda: ready().replicas == 1)
        conditions = {condition.type: condition.status for condition in ready().conditions}
        self.assertEqual(conditions["Available"], "True")
        self.assertEqual(self.apps.list_namespaced_replica_set(self.namespace).items[0].spec.replicas, 1)

        self.apps.delete_namespaced_deployment("web", self.namespace, propagation_policy="Foreground")
        lab.until("its replica sets go first", lambda: not self.apps.list_namespaced_deployment(self.namespace).items)
        self.assertEqual(self.apps.list_namespaced_replica_set(self.namespace).items, [])

    def test_orphans_stay(self):
        self.apps.create_namespaced_deployment(self.namespace, deployment("parent", replicas=0))
        sets = lambda: self.apps.list_namespaced_replica_set(self.namespace, label_selector="app=parent").items
        lab.until("it has a replica set", sets)
        self.apps.delete_namespaced_deployment("parent", self.namespace, propagation_policy="Orphan")
        gone = lambda: not self.apps.list_namespaced_deployment(
            self.namespace, field_selector="metadata.name=parent"
        ).items
        lab.until("it is gone", gone)
        self.assertIsNone(sets()[0].metadata.owner_references)
        name = sets()[0].metadata.name
        self.apps.delete_namespaced_replica_set(name, self.namespace, propagation_policy="Background")
        self.assertEqual(sets(), [])


class Containers(lab.Flow):
    """Logs, exec and port forwarding, where there is a pod and where there is none."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        script = "echo one; echo two; mkdir /www; echo served >/www/index.html; httpd -p 8080 -h /www; trap exit TERM; sleep 3600 & wait"
        cls.core.create_namespaced_pod(
            cls.namespace,
            {
                "metadata": {"name": "talker"},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}],
                },
            },
        )
        # Never to be placed: no node has this label.
        cls.core.create_namespaced_pod(
            cls.namespace,
            {
                "metadata": {"name": "homeless"},
                "spec": {"nodeSelector": {"nowhere": ""}, "containers": [{"name": "main", "image": "busybox"}]},
            },
        )
        read = lambda: cls.core.read_namespaced_pod("talker", cls.namespace).status.phase
        lab.until("the pod runs", lambda: read() == "Running")

    def test_logs(self):
        def log(**how):
            # Not decoded by the client: this version makes `b'…'` of text.
            answer = self.core.read_namespaced_pod_log("talker", self.namespace, _preload_content=False, **how)
            return answer.data.decode()

        lab.until("it has said both lines", lambda: log() == "one\ntwo\n")
        self.assertEqual(log(tail_lines=1), "two\n")
        lines = watch.Watch()
        for line in lines.stream(self.core.read_namespaced_pod_log, "talker", self.namespace):
            self.assertEqual(line, "one")
            lines.stop()
        with self.refused(400, "BadRequest", "container nobody is not valid for pod talker"):
            log(container="nobody")
        with self.refused(404, "NotFound"):
            self.core.read_namespaced_pod_log("nobody", self.namespace)

    def test_logs_over_a_websocket(self):
        read = lambda: self.core.read_namespaced_pod_log("talker", self.namespace, _preload_content=False).data
        lab.until("it has said both lines", lambda: read() == b"one\ntwo\n")
        settings = self.core.api_client.configuration
        url = get_websocket_url(f"{settings.host}/api/v1/namespaces/{self.namespace}/pods/talker/log")
        for protocol, decode in [("binary.k8s.io", bytes), ("base64.binary.k8s.io", base64.b64decode)]:
            socket = create_websocket(settings, url, {"sec-websocket-protocol": protocol})
            pieces = []
            while (received := socket.recv_data())[0] != 8:  # until it is closed
                pieces.append(decode(received[1]))
            self.assertEqual(b"".join(pieces), b"one\ntwo\n")

    def test_a_pod_is_resized_where_it_runs(self):
        """The container gets other limits and goes on; one whose policy says so is started again."""
        name, namespace = "sized", self.namespace

        def size(cpu, memory):
            return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}

        def containers(cpu, memory):
            return [{"name": each, "resources": size(cpu, memory)} for each in ("stays", "restarts")]

        common = {"image": "busybox", "command": ["sleep", "3600"]}
        policies = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        made = [{**common, **each} for each in containers("100m", "32Mi")]
        made[1]["resizePolicy"] = policies
        spec = {"terminationGracePeriodSeconds": 0, "containers": made}
        self.core.create_namespaced_pod(namespace, {"metadata": {"name": name}, "spec": spec})

        def shown():
            pod = self.core.read_namespaced_pod(name, namespace)
            resizes = [each for each in pod.status.conditions or [] if "Resize" in each.type]
            if resizes or pod.status.observed_generation != pod.metadata.generation:
                return None
            return {
                each.name: (each.resources.limits, each.allocated_resources, each.restart_count)
                for each in pod.status.container_statuses or []
                if each.state.running
            }

        def expected(cpu, memory, restarts):
            amounts = {"cpu": cpu, "memory": memory}
            return {"stays": (amounts, amounts, 0), "restarts": (amounts, amounts, restarts)}

        def kernel(container):
            script = "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes 2>/dev/null || cat cpu.max memory.max"
            words = self.exec(["sh", "-c", script], name=name, container=container).split()
            return [word for word in words if word != "100000"]

        lab.until("the pod runs", lambda: shown() == expected("100m", "32Mi", 0))
        self.assertEqual(kernel("stays"), ["10000", str(32 << 20)])
        for cpu, memory, restarts in [("200m", "48Mi", 1), ("150m", "40Mi", 2)]:
            patch = {"spec": {"containers": containers(cpu, memory)}}
            self.core.patch_namespaced_pod_resize(name, namespace, patch)
            lab.until(f"it has {cpu}, {memory}", lambda: shown() == expected(cpu, memory, restarts))
            for container in ("stays", "restarts"):
                quota = str(int(cpu.removesuffix("m")) * 100)
                self.assertEqual(kernel(container), [quota, str(int(memory.removesuffix("Mi")) << 20)])
        with self.refused(403, "Forbidden", "node didn't have enough allocatable resources: cpu"):
            self.core.patch_namespaced_pod_resize(name, namespace, {"spec": {"containers": containers("999", "40Mi")}})

    def exec(self, command, **how):
        how = {"stdout": True, "stderr": True, "stdin": False, "tty": False, **how}
        name = how.pop("name", "talker")
        return stream(
            self.core.connect_get_namespaced_pod_exec, name, self.namespace, command=command, **how
        )

    def test_exec(self):
        self.assertEqual(self.exec(["echo", "a b", "c"]), "a b c\n")
        shell = self.exec(["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"], stdin=True, _preload_content=False)
        shell.write_stdin("input\n")
        shell.run_forever(timeout=lab.PATIENCE_S)
        self.assertEqual((shell.read_stdout(), shell.read_stderr()), ("got input\n", "bad\n"))
        self.assertEqual(shell.returncode, 3)
        for name, words in [("nobody", "404"), ("homeless", "400")]:
            # While it reports the refusal, this version of the client meets an error of its own.
            with self.assertRaises(Exception) as caught:
                self.exec(["true"], name=name)
            self.assertIn(f"Handshake status {words}", str(caught.exception.__context__ or caught.exception))

    def test_port_forward(self):
        ports = portforward(
            self.core.connect_get_namespaced_pod_portforward, "talker", self.namespace, ports="8080"
        )
        socket = ports.socket(8080)
        socket.setblocking(True)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := socket.recv(1024):
            answer += piece
        socket.close()
        self.assertIsNone(ports.error(8080))
        self.assertTrue(answer.endswith(b"served\n"), answer)

    def test_who_has_no_node_has_an_empty_log(self):
        answer = self.core.read_namespaced_pod_log("homeless", self.namespace, _preload_content=False)
        self.assertEqual((answer.status, answer.data), (204, b""))

    def test_eviction_ends_a_pod(self):
        self.core.create_namespaced_pod(
            self.namespace,
            {"metadata": {"name": "victim"}, "spec": {"nodeSelector": {"nowhere": ""}, "containers": [{"name": "main", "image": "busybox"}]}},
        )
        eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="victim", namespace=self.namespace))
        self.core.create_namespaced_pod_eviction("victim", self.namespace, eviction)
        gone = lambda: not self.core.list_namespaced_pod(self.namespace, field_selector="metadata.name=victim").items
        lab.until("it is gone", gone)


class Custom(lab.Flow):
    """A kind of the user's own, from its definition on."""

    GROUP, PLURAL = "flows.example.com", "pythons"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.definitions = client.ApiextensionsV1Api()
        schema = {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["length"],
                    "properties": {
                        "length": {"type": "integer", "minimum": 1},
                        "colour": {"type": "string", "default": "green"},
                    },
                },
                "status": {"type": "object", "properties": {"fed": {"type": "boolean"}}},
            },
        }
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        cls.definitions.create_custom_resource_definition(
            {
                "metadata": {"name": f"{cls.PLURAL}.{cls.GROUP}"},
                "spec": {
                    "group": cls.GROUP,
                    "scope": "Namespaced",
                    "names": {"plural": cls.PLURAL, "kind": "Python"},
                    "versions": [version],
                },
            }
        )
        cls.custom = client.CustomObjectsApi()
        cls.where = (cls.GROUP, "v1", cls.namespace, cls.PLURAL)

    @classmethod
    def tearDownClass(cls):
        cls.definitions.delete_custom_resource_definition(f"{cls.PLURAL}.{cls.GROUP}")
        super().tearDownClass()

    def python(self, name, length=3):
        return {
            "apiVersion": f"{self.GROUP}/v1",
            "kind": "Python",
            "metadata": {"name": name},
            "spec": {"length": length, "wings": 2},
        }

    def test_custom_objects(self):
        made = self.custom.create_namespaced_custom_object(*self.where, self.python("kaa"))
        self.assertEqual(made["spec"], {"length": 3, "colour": "green"})
        with self.refused(422, "Invalid", "spec.length"):
            self.custom.create_namespaced_custom_object(*self.where, self.python("short", 0))
        start = made["metadata"]["resourceVersion"]

        made["spec"]["length"] = 4
        replaced = self.custom.replace_namespaced_custom_object(*self.where, "kaa", made)
        self.assertEqual(replaced["metadata"]["generation"], 2)
        with self.refused(409, "Conflict"):
            self.custom.replace_namespaced_custom_object(*self.where, "kaa", made)
        self.custom.patch_namespaced_custom_object(*self.where, "kaa", {"spec": {"colour": "brown"}}, _content_type=MERGE)
        self.custom.patch_namespaced_custom_object_status(*self.where, "kaa", {"status": {"fed": True}}, _content_type=MERGE)
        read = self.custom.get_namespaced_custom_object(*self.where, "kaa")
        self.assertEqual((read["spec"], read["status"]), ({"length": 4, "colour": "brown"}, {"fed": True}))
        with self.refused(415, "UnsupportedMediaType"):
            self.custom.patch_namespaced_custom_object(*self.where, "kaa", {}, _content_type=STRATEGIC)
        applied = {"apiVersion": f"{self.GROUP}/v1", "kind": "Python", "spec": {"length": 9}}
        how = {"_content_type": APPLY, "field_manager": "flows"}
        with self.refused(409, "Conflict"):
            self.custom.patch_namespaced_custom_object(*self.where, "kaa", applied, **how)
        after = self.custom.patch_namespaced_custom_object(*self.where, "kaa", applied, force=True, **how)
        self.assertEqual(after["spec"]["length"], 9)

        self.custom.delete_namespaced_custom_object(*self.where, "kaa")
        watcher, seen = watch.Watch(), []
        for event in watcher.stream(
            self.custom.list_namespaced_custom_object, *self.where, resource_version=start
        ):
            seen.append(event["type"])
            if seen[-1] == "DELETED":
                watcher.stop()
        self.assertEqual(seen, ["MODIFIED"] * 4 + ["DELETED"])
        self.assertEqual(self.custom.list_namespaced_custom_object(*self.where)["items"], [])

    def test_the_dynamic_client_finds_it(self):
        found = dynamic.DynamicClient(client.ApiClient())
        pythons = found.resources.get(api_version=f"{self.GROUP}/v1", kind="Python")
        self.assertTrue(pythons.namespaced)
        pythons.create(body=self.python("nagini"), namespace=self.namespace)
        pythons.server_side_apply(
            body={**self.python("nagini"), "spec": {"colour": "black", "length": 3}},
            namespace=self.namespace,
            field_manager="dynamic",
            force_conflicts=True,
        )
        self.assertEqual(pythons.get(name="nagini", namespace=self.namespace).spec.colour, "black")
        nodes = found.resources.get(api_version="v1", kind="Node").get()
        self.assertEqual([node.metadata.name for node in nodes.items], ["node-1"])
        pythons.delete(name="nagini", namespace=self.namespace)
        with self.assertRaises(dynamic.exceptions.NotFoundError):
            pythons.get(name="nagini", namespace=self.namespace)


class Access(lab.Flow):
    """Who one is, and what one may."""

    def test_a_service_account_may_what_its_roles_say(self):
        self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "reader"}})
        request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
        token = self.core.create_namespaced_service_account_token("reader", self.namespace, request).status.token
        reader = lab.api_client(token=token)
        user = f"system:serviceaccount:{self.namespace}:reader"

        core = client.CoreV1Api(reader)
        with self.refused(403, "Forbidden", f'User "{user}" cannot list resource "configmaps"'):
            core.list_namespaced_config_map(self.namespace)
        rbac = client.RbacAuthorizationV1Api()
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
        rbac.create_namespaced_role(self.namespace, {"metadata": {"name": "reads"}, "rules": rules})
        rbac.create_namespaced_role_binding(
            self.namespace,
            {
                "metadata": {"name": "reads"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"},
                "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": self.namespace}],
            },
        )
        may = lambda verb: client.AuthorizationV1Api(reader).create_self_subject_access_review(
            {"spec": {"resourceAttributes": {"namespace": self.namespace, "resource": "configmaps", "verb": verb}}}
        ).status.allowed
        lab.until("the binding counts", lambda: may("list"))
        self.assertFalse(may("delete"))
        self.assertTrue(core.list_namespaced_config_map(self.namespace).items)

        who = client.AuthenticationV1Api(reader).create_self_subject_review({})
        self.assertEqual(who.status.user_info.username, user)
        review = client.AuthenticationV1Api().create_token_review({"spec": {"token": token}})
        self.assertEqual((review.status.authenticated, review.status.user.username), (True, user))

    def test_nobody_is_told_so(self):
        with self.refused(401, "Unauthorized", "Unauthorized"):
            client.CoreV1Api(lab.api_client(token="nonsense")).list_namespace()


class Finding(lab.Flow):
    """What the server says about itself."""

    def test_versions_groups_and_resources(self):
        self.assertEqual(client.VersionApi().get_code().minor, "36")
        groups = {group.name for group in client.ApisApi().get_api_versions().groups}
        self.assertLessEqual({"apps", "batch", "rbac.authorization.k8s.io"}, groups)
        self.assertEqual(client.CoreApi().get_api_versions().versions, ["v1"])
        core = {item.name: item for item in self.core.get_api_resources().resources}
        self.assertEqual((core["pods"].kind, core["pods"].short_names), ("Pod", ["po"]))
        self.assertIn("deployments/scale", {item.name for item in self.apps.get_api_resources().resources})


class Leading(lab.Flow):
    """Two candidates for one lock, the first of which goes away."""

    def test_one_leads_then_the_other(self):
        led = []

        class GaveUp(Exception):
            """How the first one ends."""

        class Mortal(ConfigMapLock):
            """A lock whose holder ends after it was renewed twice."""

            renewed = 0

            def update(self, *args):
                done = super().update(*args)
                self.renewed += done
                if self.renewed == 2:
                    raise GaveUp
                return done

        def candidate(lock):
            started = lambda: led.append(lock.identity)
            return leaderelection.LeaderElection(
                Config(lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=started, onstopped_leading=lambda: None)
            )

        first = candidate(Mortal("lock", self.namespace, "first"))
        self.assertRaises(GaveUp, first.run)
        second = candidate(ConfigMapLock("lock", self.namespace, "second"))
        threading.Thread(target=second.run, daemon=True).start()
        lab.until("the second leads", lambda: led == ["first", "second"])
        record = self.core.read_namespaced_config_map("lock", self.namespace).metadata.annotations
        self.assertIn('"holderIdentity": "second"', record["control-plane.alpha.kubernetes.io/leader"])


class FailOver(lab.Flow):
    """The master that is asked is killed; the flow goes on through another."""

    def test_another_master_knows_all_and_the_watch_goes_on(self):
        asked, other = lab.masters()[:2]
        one, two = (client.CoreV1Api(lab.api_client(master["url"])) for master in (asked, other))
        seen = []

        def follow(core, version, last):
            watcher = watch.Watch()
            try:
                for event in watcher.stream(core.list_namespaced_config_map, self.namespace, resource_version=version, label_selector="over"):
                    seen.append(event["object"].metadata.name)
                    if seen[-1] == last:
                        watcher.stop()
            except Exception as error:  # whichever the broken connection becomes
                self.assertNotIsInstance(error, ApiException)
            return watcher.resource_version

        make = lambda core, number: core.create_namespaced_config_map(
            self.namespace, self.config_map(f"over-{number:02}", labels={"over": ""})
        )
        version = one.list_namespaced_config_map(self.namespace).metadata.resource_version
        broken = {}
        watching = threading.Thread(target=lambda: broken.update(version=follow(one, version, "over-99")))
        watching.start()
        for number in range(10):
            made = make(one, number)
        # Every master has what another has acknowledged.
        read = two.read_namespaced_config_map("over-09", self.namespace)
        self.assertEqual(read.metadata.resource_version, made.metadata.resource_version)
        lab.until("the watch has seen them", lambda: len(seen) == 10)
        lab.kill(asked)
        try:
            with self.assertRaises(Exception):
                client.CoreV1Api(lab.api_client(asked["url"])).list_namespace(_request_timeout=2)
            for number in range(10, 20):
                make(two, number)
            watching.join(lab.PATIENCE_S)
            follow(two, broken["version"], "over-19")
            self.assertEqual(seen, [f"over-{number:02}" for number in range(20)])
            self.assertEqual(len(two.list_namespaced_config_map(self.namespace, label_selector="over").items), 20)
        finally:
            lab.start_again()
        back = client.CoreV1Api(lab.api_client(asked["url"]))
        self.assertEqual(len(back.list_namespaced_config_map(self.namespace, label_selector="over").items), 20)


if __name__ == "__main__":
    # An informer that is stopped logs its broken connection as an error.
    logging.getLogger("kubernetes.informer").setLevel(logging.CRITICAL)
    unittest.main(verbosity=2, warnings="ignore")
