"""What a person does with the Python client of Kubernetes, each step with what must be seen.

Called as `story.py KUBECONFIG NAMESPACE`; prints `ok   STEP` or `FAIL STEP: why` for each, and needs a control plane with nodes and a
manager that runs Deployments. Steps do not depend on each other.
"""

import base64
import datetime
import logging
import os
import sys
import tempfile
import threading
import time
import traceback

import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import stream

PATIENCE = 30
NAMESPACE = sys.argv[2]
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def eventually(what, look):
    """Looks again and again until it gives something true."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)


def refused(code, reason, call, *args, **kwargs):
    """The message of a refusal."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        status = yaml.safe_load(error.body)
        assert (error.status, status["reason"]) == (code, reason), f"{error.status} {error.body}"
        return status["message"]
    raise AssertionError(f"{call.__name__} was not refused")


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def config_map(name, data=None, **more):
    return client.V1ConfigMap(metadata=meta(name, **more), data=data)


def pod_spec(image="app:1"):
    return client.V1PodSpec(containers=[client.V1Container(name="main", image=image)])


def template(name):
    return client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": name}), spec=pod_spec())


def deployment(name, replicas):
    spec = client.V1DeploymentSpec(
        replicas=replicas, selector=client.V1LabelSelector(match_labels={"app": name}), template=template(name)
    )
    return client.V1Deployment(metadata=meta(name, labels={"app": name}), spec=spec)


def available(apps, name, replicas):
    def look():
        status = apps.read_namespaced_deployment_status(name, NAMESPACE).status
        return (status.available_replicas or 0) == replicas and (status.replicas or 0) == replicas

    eventually(f"{replicas} of {name} are available", look)


def runs(core, name):
    def ready():
        conditions = core.read_namespaced_pod(name, NAMESPACE).status.conditions or []
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    eventually(f"{name} is ready", ready)


@step
def versions_and_groups_are_discovered():
    assert client.VersionApi().get_code().git_version.startswith("v1.")
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= groups, groups
    core = {resource.name for resource in client.CoreV1Api().get_api_resources().resources}
    assert {"pods", "pods/eviction", "configmaps"} <= core, core


@step
def an_object_is_created_read_replaced_and_deleted():
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(NAMESPACE, config_map("plain", {"a": "1"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    assert "already exists" in refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, config_map("plain"))
    made.data = {"a": "2"}
    newer = core.replace_namespaced_config_map("plain", NAMESPACE, made)
    assert int(newer.metadata.resource_version) > int(made.metadata.resource_version)
    message = refused(409, "Conflict", core.replace_namespaced_config_map, "plain", NAMESPACE, made)
    assert "please apply your changes to the latest version" in message, message
    status = core.delete_namespaced_config_map("plain", NAMESPACE)
    assert status.status == "Success" and status.details.uid == made.metadata.uid, status
    assert refused(404, "NotFound", core.read_namespaced_config_map, "plain", NAMESPACE) == 'configmaps "plain" not found'


@step
def a_secret_keeps_bytes_and_takes_texts():
    core = client.CoreV1Api()
    data = {"raw": base64.b64encode(bytes(range(256))).decode()}
    core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=meta("bytes"), data=data, string_data={"text": "hällo"}))
    read = core.read_namespaced_secret("bytes", NAMESPACE)
    assert base64.b64decode(read.data["raw"]) == bytes(range(256)) and read.type == "Opaque"
    assert base64.b64decode(read.data["text"]).decode() == "hällo" and read.string_data is None


@step
def lists_are_selected_and_paged():
    core = client.CoreV1Api()
    for number in range(7):
        labels = {"batch": "paged", "odd": str(number % 2 == 1).lower()}
        core.create_namespaced_config_map(NAMESPACE, config_map(f"paged-{number}", labels=labels))

    def names(**how):
        return [item.metadata.name for item in core.list_namespaced_config_map(NAMESPACE, **how).items]

    assert names(label_selector="batch=paged,odd!=true") == ["paged-0", "paged-2", "paged-4", "paged-6"]
    assert names(label_selector="batch in (paged),!even", field_selector="metadata.name=paged-3") == ["paged-3"]
    assert "unable to parse requirement" in refused(400, "BadRequest", core.list_namespaced_config_map, NAMESPACE, label_selector="a in")
    assert "not a known field selector" in refused(400, "BadRequest", core.list_namespaced_config_map, NAMESPACE, field_selector="a=b")
    pages, token, version = [], None, None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="batch=paged", limit=3, _continue=token)
        pages.append([item.metadata.name for item in page.items])
        version, token = version or page.metadata.resource_version, page.metadata._continue
        assert page.metadata.resource_version == version, (page.metadata, version)
        if not token:
            break
        # What comes after the first page is not on the others.
        core.create_namespaced_config_map(NAMESPACE, config_map(f"paged-9{len(pages)}", labels={"batch": "paged"}))
    assert pages == [["paged-0", "paged-1", "paged-2"], ["paged-3", "paged-4", "paged-5"], ["paged-6"]], pages
    assert "continue key is not valid" in refused(400, "BadRequest", core.list_namespaced_config_map, NAMESPACE, limit=1, _continue="?")


@step
def a_collection_is_deleted_by_selector():
    core = client.CoreV1Api()
    for name in ("gone-1", "gone-2", "stays"):
        core.create_namespaced_config_map(NAMESPACE, config_map(name, labels={"sweep": "yes" if name != "stays" else "no"}))
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="sweep=yes")
    left = core.list_namespaced_config_map(NAMESPACE, label_selector="sweep").items
    assert [item.metadata.name for item in left] == ["stays"]


@step
def patches_of_each_type_do_what_they_say():
    apps = client.AppsV1Api()
    apps.create_namespaced_deployment(NAMESPACE, deployment("patched", 0))

    def patched(body, content_type, **how):
        return apps.patch_namespaced_deployment("patched", NAMESPACE, body, _content_type=content_type, **how)

    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "side:1"}]}}}}
    seen = patched(sidecar, "application/strategic-merge-patch+json")
    assert {c.name for c in seen.spec.template.spec.containers} == {"main", "sidecar"}
    seen = patched(sidecar, "application/merge-patch+json")
    assert [c.name for c in seen.spec.template.spec.containers] == ["sidecar"]
    operations = [{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "add", "path": "/spec/paused", "value": True}]
    seen = patched(operations, "application/json-patch+json")
    assert seen.spec.paused
    message = refused(422, "Invalid", patched, [{"op": "test", "path": "/spec/replicas", "value": 9}], "application/json-patch+json")
    assert message
    wish = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "patched"}, "spec": {"paused": False}}
    message = refused(409, "Conflict", patched, wish, "application/apply-patch+yaml", field_manager="story")
    assert ".spec.paused" in message, message
    seen = patched(wish, "application/apply-patch+yaml", field_manager="story", force=True)
    assert not seen.spec.paused and "story" in {entry.manager for entry in seen.metadata.managed_fields}


@step
def dry_runs_and_field_validation_change_nothing():
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    assert made.metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", NAMESPACE)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry"}, "dada": {}}
    message = refused(400, "BadRequest", core.create_namespaced_config_map, NAMESPACE, body, field_validation="Strict")
    assert 'unknown field "dada"' in message, message
    _, _, headers = core.create_namespaced_config_map_with_http_info(NAMESPACE, body, field_validation="Warn")
    assert 'unknown field \\"dada\\"' in headers["Warning"], headers


@step
def what_is_not_valid_is_refused_with_its_causes():
    try:
        client.CoreV1Api().create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("Not_A_Name"), spec=pod_spec(image="")))
    except ApiException as error:
        causes = yaml.safe_load(error.body)["details"]["causes"]
        assert error.status == 422 and {cause["field"] for cause in causes} >= {"metadata.name"}, error.body
        return
    raise AssertionError("the pod was taken")


@step
def a_deployment_comes_up_scales_and_rolls():
    apps = client.AppsV1Api()
    apps.create_namespaced_deployment(NAMESPACE, deployment("web", 2))
    available(apps, "web", 2)
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert scale.spec.replicas == 2 and scale.status.selector == "app=web", scale

    def replaced():
        scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
        scale.spec.replicas = 3
        try:
            return apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)
        except ApiException as error:
            # The manager wrote in between.
            assert error.status == 409, error

    eventually("the scale is replaced", replaced)
    available(apps, "web", 3)
    apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 1}})
    available(apps, "web", 1)
    stamp = {"spec": {"template": {"metadata": {"annotations": {"story": "restarted"}}}}}
    apps.patch_namespaced_deployment("web", NAMESPACE, stamp)
    eventually("two ReplicaSets", lambda: len(apps.list_namespaced_replica_set(NAMESPACE, label_selector="app=web").items) == 2)
    available(apps, "web", 1)


@step
def status_is_written_by_itself():
    batch = client.BatchV1Api()
    spec = client.V1JobSpec(suspend=True, template=client.V1PodTemplateSpec(spec=pod_spec()))
    spec.template.spec.restart_policy = "Never"
    batch.create_namespaced_job(NAMESPACE, client.V1Job(metadata=meta("idle"), spec=spec))
    cron = client.V1CronJobSpec(schedule="0 0 1 1 *", suspend=True, job_template=client.V1JobTemplateSpec(spec=spec))
    assert batch.create_namespaced_cron_job(NAMESPACE, client.V1CronJob(metadata=meta("idle"), spec=cron)).spec.concurrency_policy == "Allow"
    seen = batch.patch_namespaced_job_status("idle", NAMESPACE, {"status": {"active": 0, "ready": 0}, "spec": {"parallelism": 9}})
    assert seen.spec.parallelism == 1 and seen.spec.completions == 1, seen.spec
    assert "field is immutable" in refused(
        422, "Invalid", batch.patch_namespaced_job, "idle", NAMESPACE, {"spec": {"selector": {"matchLabels": {"a": "b"}}}}
    )


@step
def an_eviction_asks_the_budget():
    core, policy = client.CoreV1Api(), client.PolicyV1Api()
    core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("guarded", labels={"guard": "yes"}), spec=pod_spec()))
    runs(core, "guarded")
    budget = client.V1PodDisruptionBudgetSpec(min_available=1, selector=client.V1LabelSelector(match_labels={"guard": "yes"}))
    made = policy.create_namespaced_pod_disruption_budget(NAMESPACE, client.V1PodDisruptionBudget(metadata=meta("guard"), spec=budget))
    status = {"status": {"observedGeneration": made.metadata.generation, "disruptionsAllowed": 0, "currentHealthy": 1,
                         "desiredHealthy": 1, "expectedPods": 1}}
    policy.patch_namespaced_pod_disruption_budget_status("guard", NAMESPACE, status)
    eviction = client.V1Eviction(metadata=meta("guarded"), delete_options=client.V1DeleteOptions(grace_period_seconds=0))
    message = refused(429, "TooManyRequests", core.create_namespaced_pod_eviction, "guarded", NAMESPACE, eviction)
    assert "disruption budget" in message, message
    policy.delete_namespaced_pod_disruption_budget("guard", NAMESPACE)
    core.create_namespaced_pod_eviction("guarded", NAMESPACE, eviction)

    def gone():
        pods = core.list_namespaced_pod(NAMESPACE, field_selector="metadata.name=guarded").items
        return not pods or pods[0].metadata.deletion_timestamp is not None

    eventually("the pod is gone", gone)


@step
def logs_come_and_exec_is_refused_clearly():
    core = client.CoreV1Api()
    core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=meta("talker"), spec=pod_spec()))
    runs(core, "talker")
    try:
        assert core.read_namespaced_pod_log("talker", NAMESPACE).strip()
    except ApiException as error:
        # Where nodes are made up and the server is not, nobody has a log.
        assert error.status == 500 and yaml.safe_load(error.body)["message"], error
    try:
        stream(core.connect_get_namespaced_pod_exec, "talker", NAMESPACE, command=["true"], stdout=True, stderr=True)
    except AttributeError as error:
        # This version stumbles over its own error, which has no body.
        assert "Handshake status" in error.__context__.reason, error.__context__
        return
    raise AssertionError("something was executed")


@step
def rbac_decides_for_whom_it_is_asked():
    core, rbac, auth = client.CoreV1Api(), client.RbacAuthorizationV1Api(), client.AuthorizationV1Api()
    core.create_namespaced_service_account(NAMESPACE, client.V1ServiceAccount(metadata=meta("reader")))
    rule = client.V1PolicyRule(api_groups=[""], resources=["configmaps"], verbs=["get", "list"])
    rbac.create_namespaced_role(NAMESPACE, client.V1Role(metadata=meta("reader"), rules=[rule]))
    subject = client.RbacV1Subject(kind="ServiceAccount", name="reader", namespace=NAMESPACE)
    role = client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader")
    rbac.create_namespaced_role_binding(NAMESPACE, client.V1RoleBinding(metadata=meta("reader"), subjects=[subject], role_ref=role))
    user = f"system:serviceaccount:{NAMESPACE}:reader"

    def may(verb, resource):
        wanted = client.V1ResourceAttributes(namespace=NAMESPACE, verb=verb, resource=resource)
        review = client.V1SubjectAccessReview(spec=client.V1SubjectAccessReviewSpec(user=user, resource_attributes=wanted))
        return auth.create_subject_access_review(review).status.allowed

    eventually("the role counts", lambda: may("get", "configmaps"))
    assert not may("delete", "configmaps") and not may("get", "secrets")
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("reader", NAMESPACE, request).status.token
    own = client.Configuration.get_default_copy()
    own.refresh_api_key_hook = None
    own.api_key = {"authorization": f"Bearer {token}"}
    reader = client.CoreV1Api(client.ApiClient(own))
    reader.list_namespaced_config_map(NAMESPACE)
    message = refused(403, "Forbidden", reader.list_namespaced_secret, NAMESPACE)
    assert f'User "{user}" cannot list resource "secrets"' in message, message
    own.api_key = {"authorization": "Bearer nobody"}
    refused(401, "Unauthorized", client.CoreV1Api(client.ApiClient(own)).list_namespaced_config_map, NAMESPACE)


@step
def a_watch_resumes_where_it_was():
    core = client.CoreV1Api()
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    for number in range(4):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"watched-{number}", labels={"watched": "yes"}))
    core.delete_namespaced_config_map("watched-0", NAMESPACE)

    def events(version, most):
        seen, watcher = [], watch.Watch()
        for event in watcher.stream(
            core.list_namespaced_config_map, NAMESPACE, label_selector="watched", resource_version=version, timeout_seconds=10
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == most:
                watcher.stop()
        return seen, watcher.resource_version

    first, version = events(version, 2)
    second, _ = events(version, 3)
    assert first + second == [("ADDED", f"watched-{n}") for n in range(4)] + [("DELETED", "watched-0")], first + second


@step
def a_watch_ends_when_its_time_is_up():
    start = time.monotonic()
    events = list(watch.Watch().stream(client.CoreV1Api().list_namespaced_secret, NAMESPACE, label_selector="no=such", timeout_seconds=1))
    assert not events and 0.9 < time.monotonic() - start < 5


@step
def a_watch_from_the_forgotten_past_is_told_410():
    core = client.CoreV1Api()

    def forgotten():
        try:
            core.patch_namespaced_config_map("kept", NAMESPACE, {"data": {"at": str(time.monotonic())}})
            list(watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version="1", timeout_seconds=1))
        except ApiException as error:
            assert error.status == 410 and "Expired" in error.reason, error
            return True

    core.create_namespaced_config_map(NAMESPACE, config_map("kept"))
    eventually("history is compacted", forgotten)


@step
def bookmarks_and_streamed_lists_carry_versions():
    core = client.CoreV1Api()
    core.create_namespaced_config_map(NAMESPACE, config_map("streamed", labels={"streamed": "yes"}))
    watcher = watch.Watch()
    seen = []
    for event in watcher.stream(
        core.list_namespaced_config_map, NAMESPACE, label_selector="streamed", allow_watch_bookmarks=True,
        send_initial_events=True, resource_version_match="NotOlderThan", timeout_seconds=10,
    ):
        seen.append(event["type"])
        if event["type"] == "BOOKMARK":
            assert event["raw_object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}, event
            watcher.stop()
    assert seen == ["ADDED", "BOOKMARK"] and int(watcher.resource_version) > 0, seen


@step
def an_informer_keeps_a_copy():
    core = client.CoreV1Api()
    core.create_namespaced_config_map(NAMESPACE, config_map("informed-1", labels={"informed": "yes"}))
    informer, told = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="informed"), []
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, lambda thing, kind=kind: told.append((kind, thing.metadata.name)))
    informer.start()
    try:
        eventually("the first is known", lambda: ("ADDED", "informed-1") in told)
        core.create_namespaced_config_map(NAMESPACE, config_map("informed-2", labels={"informed": "yes"}))
        core.patch_namespaced_config_map("informed-1", NAMESPACE, {"data": {"a": "b"}})
        core.delete_namespaced_config_map("informed-2", NAMESPACE)
        eventually("the deletion is told", lambda: ("DELETED", "informed-2") in told)
        assert ("MODIFIED", "informed-1") in told and informer.cache.list_keys() == [f"{NAMESPACE}/informed-1"], told
        assert informer.cache.get_by_key(f"{NAMESPACE}/informed-1").data == {"a": "b"}
    finally:
        informer.stop()


@step
def two_candidates_elect_one_leader_by_config_map():
    led, lost = [], threading.Event()

    def candidate(identity):
        lock = ConfigMapLock("election", NAMESPACE, identity)
        elected = electionconfig.Config(
            lock, lease_duration=4, renew_deadline=3, retry_period=1, onstarted_leading=lambda: led.append(identity), onstopped_leading=lost.set
        )
        threading.Thread(target=leaderelection.LeaderElection(elected).run, daemon=True).start()

    candidate("first")
    eventually("there is a leader", lambda: led)
    candidate("second")
    time.sleep(2.5)
    assert led == ["first"] and not lost.is_set(), led
    record = client.CoreV1Api().read_namespaced_config_map("election", NAMESPACE).metadata.annotations
    assert '"holderIdentity": "first"' in record["control-plane.alpha.kubernetes.io/leader"], record


@step
def a_lease_is_taken_by_optimistic_writes():
    leases = client.CoordinationV1Api()
    now = datetime.datetime.now(datetime.timezone.utc)
    spec = client.V1LeaseSpec(holder_identity="one", lease_duration_seconds=15, acquire_time=now, renew_time=now)
    lease = leases.create_namespaced_lease(NAMESPACE, client.V1Lease(metadata=meta("lease"), spec=spec))
    assert lease.spec.renew_time == now, (lease.spec.renew_time, now)
    lease.spec.holder_identity = "two"
    leases.replace_namespaced_lease("lease", NAMESPACE, lease)
    refused(409, "Conflict", leases.replace_namespaced_lease, "lease", NAMESPACE, lease)


MANY = """
apiVersion: v1
kind: Service
metadata: {name: from-yaml}
spec: {selector: {app: from-yaml}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: from-yaml}
spec:
  replicas: 1
  selector: {matchLabels: {app: from-yaml}}
  template:
    metadata: {labels: {app: from-yaml}}
    spec: {containers: [{name: main, image: "app:1"}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: from-yaml}, data: {a: b}}
"""


@step
def a_file_of_many_objects_is_created():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "many.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(MANY)
        utils.create_from_yaml(client.ApiClient(), path, namespace=NAMESPACE)
        service = client.CoreV1Api().read_namespaced_service("from-yaml", NAMESPACE)
        assert service.spec.cluster_ip.count(".") == 3 and service.spec.ports[0].target_port == 8080
        available(client.AppsV1Api(), "from-yaml", 1)
        try:
            utils.create_from_yaml(client.ApiClient(), path, namespace=NAMESPACE)
        except utils.FailToCreateError as error:
            assert {e.status for e in error.api_exceptions} == {409}, error
            return
    raise AssertionError("it was created twice")


def gadget(name, size):
    return {"apiVersion": "story.example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": size}}


GADGETS = ("story.example.com", "v1", NAMESPACE, "gadgets")


def gadgets():
    """The definition of the custom resource; it is made once and belongs to the whole cluster."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer", "maximum": 9}, "color": {"type": "string", "default": "red"}},
                "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "gadgets do not shrink"}],
            },
            "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
        },
    }
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gg"]}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.story.example.com"},
        "spec": {"group": "story.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    api = client.ApiextensionsV1Api()
    try:
        api.create_custom_resource_definition(body)
    except ApiException as error:
        assert error.status == 409, error

    def established():
        conditions = api.read_custom_resource_definition("gadgets.story.example.com").status.conditions or []
        return any(c.type == "Established" and c.status == "True" for c in conditions)

    eventually("the definition is established", established)


@step
def custom_objects_have_schema_status_and_scale():
    gadgets()
    custom = client.CustomObjectsApi()
    eventually("gadgets are served", lambda: served(custom))
    made = custom.create_namespaced_custom_object(*GADGETS, gadget("one", 3))
    assert made["spec"] == {"size": 3, "color": "red"} and made["metadata"]["generation"] == 1, made
    refused(422, "Invalid", custom.create_namespaced_custom_object, *GADGETS, gadget("big", 10))
    message = refused(422, "Invalid", custom.patch_namespaced_custom_object, *GADGETS, "one", {"spec": {"size": 2}})
    assert "gadgets do not shrink" in message, message
    custom.patch_namespaced_custom_object_status(*GADGETS, "one", {"status": {"size": 3}, "spec": {"size": 9}})
    seen = custom.get_namespaced_custom_object(*GADGETS, "one")
    assert seen["status"] == {"size": 3} and seen["spec"]["size"] == 3 and seen["metadata"]["generation"] == 1, seen
    custom.patch_namespaced_custom_object_scale(*GADGETS, "one", {"spec": {"replicas": 5}})
    assert custom.get_namespaced_custom_object_scale(*GADGETS, "one")["spec"]["replicas"] == 5
    listed = custom.list_namespaced_custom_object(*GADGETS, label_selector="")
    assert listed["kind"] == "GadgetList" and [item["spec"]["size"] for item in listed["items"]] == [5], listed
    custom.delete_namespaced_custom_object(*GADGETS, "one")


def served(custom):
    try:
        custom.list_namespaced_custom_object(*GADGETS)
        return True
    except ApiException as error:
        assert error.status == 404, error


@step
def the_dynamic_client_finds_applies_and_watches():
    gadgets()
    api = dynamic.DynamicClient(client.ApiClient(), cache_file=os.path.join(tempfile.mkdtemp(), "discovery"))
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")
    assert deployments.namespaced and "scale" in deployments.subresources and deployments.preferred
    assert {r.kind for r in api.resources.search(short_names=["cm"])} >= {"ConfigMap"}

    def found():
        api.resources.invalidate_cache()
        return api.resources.search(kind="Gadget", group="story.example.com")

    kind = eventually("gadgets are discovered", found)[0]
    manager = {"field_manager": "dynamic-story"}
    first = kind.server_side_apply(body=gadget("applied", 1), namespace=NAMESPACE, **manager)
    assert first.spec.color == "red" and first.metadata.managedFields[0].operation == "Apply", first.metadata.managedFields
    try:
        kind.server_side_apply(body=gadget("applied", 2), namespace=NAMESPACE, field_manager="somebody-else")
        raise AssertionError("no conflict")
    except ConflictError as error:
        assert "dynamic-story" in error.summary(), error.summary()
    kind.server_side_apply(body=gadget("applied", 2), namespace=NAMESPACE, field_manager="somebody-else", force_conflicts=True)
    kind.patch(body={"spec": {"color": "blue"}}, name="applied", namespace=NAMESPACE, content_type="application/merge-patch+json")
    kind.status.patch(body={"status": {"size": 2}}, name="applied", namespace=NAMESPACE, content_type="application/merge-patch+json")
    seen = kind.get(name="applied", namespace=NAMESPACE)
    assert (seen.spec.size, seen.spec.color, seen.status.size) == (2, "blue", 2), seen
    types = [event["type"] for event in kind.watch(namespace=NAMESPACE, name="applied", timeout=1)]
    assert types == ["ADDED"], types
    kind.delete(name="applied", namespace=NAMESPACE)
    try:
        kind.get(name="applied", namespace=NAMESPACE)
        raise AssertionError("it is still there")
    except NotFoundError:
        pass


@step
def a_namespace_takes_what_is_in_it_along():
    core, name = client.CoreV1Api(), f"{NAMESPACE}-brief"
    core.create_namespace(client.V1Namespace(metadata=meta(name)))
    core.create_namespaced_config_map(name, config_map("inside"))
    core.delete_namespace(name)
    phase = core.list_namespace(field_selector=f"metadata.name={name}").items
    assert not phase or phase[0].status.phase == "Terminating", phase
    if phase:
        assert "being terminated" in refused(403, "Forbidden", core.create_namespaced_config_map, name, config_map("late"))
    # The manager leaves other API servers five seconds to see it.
    eventually("the namespace is gone", lambda: not core.list_namespace(field_selector=f"metadata.name={name}").items)


def main():
    config.load_kube_config(sys.argv[1])
    # An informer that is stopped tells at length that its connection was closed.
    logging.disable(logging.CRITICAL)
    failed = 0
    for one in STEPS:
        start, title = time.monotonic(), one.__name__.replace("_", " ")
        try:
            one()
            print(f"ok   {title} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as error:  # whatever it is: the step failed, and the others are still to be told
            failed += 1
            line = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).replace("\n", " ")[:600]
            print(f"FAIL {title} ({time.monotonic() - start:.1f} s): {type(error).__name__} in {line.name}, line {line.lineno}: {text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
