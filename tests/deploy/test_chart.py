"""What the Helm chart renders; needs `helm`, but no cluster."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.auth.settings import AuthSettings
from services.gateway.settings import GatewaySettings
from services.kit.settings import Settings
from services.mail.settings import MailSettings, WorkerSettings

CHART = Path(__file__).parents[2] / "deploy/helm/mailroom"
VALUES = {"default": CHART / "values.yaml", "production": CHART / "ci/production-values.yaml"}
SETTINGS: dict[str, type[Settings]] = {
    "auth": AuthSettings, "gateway": GatewaySettings, "mail": MailSettings, "worker": WorkerSettings,
}  # fmt: skip
# Read by the database driver and by OpenTelemetry.
OF_LIBRARIES = {"PGSSLMODE", "PGSSLROOTCERT", "OTEL_EXPORTER_OTLP_ENDPOINT"}

type Resource = dict[str, Any]


@pytest.fixture(scope="module", params=VALUES)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    """Everything that is installed, with the default values and with those of a production."""
    return _rendered("--values", str(VALUES[request.param]))


def _rendered(*arguments: str) -> list[Resource]:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("`helm` is not installed")
    command = [helm, "template", "mailroom", str(CHART), "--namespace", "mail", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def _of(resources: list[Resource], kind: str) -> dict[str, Resource]:
    return {
        resource["metadata"]["name"].removeprefix("mailroom-"): resource
        for resource in resources
        if resource["kind"] == kind
    }


def _pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    for kind in ("Deployment", "Job"):
        for name, resource in _of(resources, kind).items():
            yield name, resource["spec"]["template"]["spec"]


def _variables(pod: Resource) -> dict[str, str | None]:
    [container] = pod["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def _secret_of(pod: Resource, variable: str) -> tuple[str, str]:
    """The Secret and its key whose content a variable's file has."""
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    secrets = [source["secret"] for source in volume["projected"]["sources"]]
    [found] = [
        (secret["name"], item["key"]) for secret in secrets for item in secret["items"] if item["path"] == variable
    ]
    return found


def _callers(policy: Resource, port: int) -> set[str]:
    """The components that a policy lets in at a port."""
    return {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policy["spec"]["ingress"] or []
        if [allowed["port"] for allowed in rule["ports"]] == [port]
        for peer in rule["from"]
    }


class TestPods:
    def test_are_one_deployment_for_each_process_and_one_job_for_each_database(self, resources: list[Resource]) -> None:
        assert {name for name, _ in _pods(resources)} == {*SETTINGS, "auth-migrations", "mail-migrations"}

    def test_run_without_rights(self, resources: list[Resource]) -> None:
        for name, pod in _pods(resources):
            [container] = pod["containers"]
            assert pod["automountServiceAccountToken"] is False, name
            assert pod["securityContext"]["runAsNonRoot"], name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name

    def test_are_asked_on_their_admin_port(self, resources: list[Resource]) -> None:
        for name, resource in _of(resources, "Deployment").items():
            [container] = resource["spec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports["admin"] == SETTINGS[name].model_fields[f"{name}_admin_port"].default
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["port"] == "admin", name
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"

    def test_get_variables_that_their_process_reads(self, resources: list[Resource]) -> None:
        for name, pod in _pods(resources):
            service, _, migrations = name.partition("-")
            fields = SETTINGS[service].model_fields.items()
            read = {str(field.validation_alias or own).upper() for own, field in fields}
            given = {variable.removesuffix("_FILE") for variable in _variables(pod)} - OF_LIBRARIES
            shared = {"AUTH_ADDRESS", "MAIL_ADDRESS", "FRONTEND_REDIRECT_URL", "PUBLIC_URL", "GMAIL_QUOTA_PROFILE"}
            assert given - shared <= read, name
            assert (migrations == "") == ("DRAIN_DELAY_SECONDS" in given), name

    def test_find_every_file_that_a_variable_names(self, resources: list[Resource]) -> None:
        for name, pod in _pods(resources):
            [container] = pod["containers"]
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            mounted = set()
            for mount in container["volumeMounts"]:
                volume = volumes.pop(mount["name"])
                for source in volume.get("projected", {}).get("sources", []):
                    [item] = source["secret"]["items"]
                    mounted.add(f"{mount['mountPath']}/{item['path']}")
                if "secret" in volume:
                    mounted |= {f"{mount['mountPath']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")}
            assert volumes == {}, name
            named = {value for value in _variables(pod).values() if value and value.startswith("/run/secrets")}
            assert named <= mounted, name


class TestSecrets:
    def test_reach_only_the_processes_that_use_them(self, resources: list[Resource]) -> None:
        owners: dict[str, set[str]] = {}
        for name, pod in _pods(resources):
            for variable in _variables(pod):
                if variable.endswith("_FILE"):
                    owners.setdefault(variable.removesuffix("_FILE"), set()).add(name)
        owners.pop("SECRET_KEY_PREVIOUS", None)
        assert owners.pop("POSTGRES_PASSWORD", {"auth-migrations", "mail-migrations"}) == {
            "auth-migrations",
            "mail-migrations",
        }
        assert owners == {
            "SECRET_KEY": {"auth"},
            "GOOGLE_CLIENT_SECRET": {"auth"},
            "AUTH_POSTGRES_PASSWORD": {"auth", "auth-migrations"},
            "MAIL_POSTGRES_PASSWORD": {"mail", "worker", "mail-migrations"},
            "REDIS_PASSWORD": {"auth", "gateway", "mail", "worker"},
        }

    def test_of_the_gateway_at_redis_are_its_own_where_it_has_a_name_of_its_own(self) -> None:
        chosen = ("redis.username=rest,redis.gatewayUsername=gateway", "secrets.redisGatewayPassword.name=own")
        own = _rendered(*(argument for pair in chosen for argument in ("--set", pair)))
        secrets = {
            name: (_variables(pod)["REDIS_USERNAME"], _secret_of(pod, "REDIS_PASSWORD"))
            for name, pod in _pods(own)
            if name in SETTINGS
        }
        rest = ("rest", ("mailroom", "redis-password"))
        assert secrets == dict.fromkeys(SETTINGS, rest) | {"gateway": ("gateway", ("own", "redis-gateway-password"))}

    def test_are_no_values(self) -> None:
        with pytest.raises(AssertionError, match="SECRET_KEY"):
            _rendered("--set", "settings.SECRET_KEY=known")


class TestNetworkPolicies:
    def test_deny_what_is_not_allowed(self, resources: list[Resource]) -> None:
        deny = _of(resources, "NetworkPolicy")["deny"]["spec"]
        assert deny["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in deny
        assert "egress" not in deny
        assert "app.kubernetes.io/component" not in deny["podSelector"]["matchLabels"]

    def test_let_only_callers_reach_a_service(self, resources: list[Resource]) -> None:
        policies = _of(resources, "NetworkPolicy")
        assert _callers(policies["auth"], 50051) == {"gateway", "mail", "worker"}
        assert _callers(policies["mail"], 50052) == {"gateway"}
        assert not [rule for rule in policies["worker"]["spec"]["ingress"] or [] if rule["ports"][0]["port"] != 9103]

    def test_keep_the_gateway_from_databases_and_the_provider(self, resources: list[Resource]) -> None:
        rules = _of(resources, "NetworkPolicy")["gateway"]["spec"]["egress"]
        ports = {port["port"] for rule in rules for port in rule["ports"]}
        [redis_port] = {int(str(_variables(pod)["REDIS_PORT"])) for name, pod in _pods(resources) if name == "gateway"}
        assert redis_port in ports
        assert ports <= {53, 4317, 50051, 50052, redis_port}


class TestAvailability:
    def test_one_pod_at_a_time_is_taken_away(self, resources: list[Resource]) -> None:
        budgets = _of(resources, "PodDisruptionBudget")
        assert {name: budget["spec"]["maxUnavailable"] for name, budget in budgets.items()} == dict.fromkeys(
            SETTINGS, 1
        )

    def test_workers_follow_their_load(self, resources: list[Resource]) -> None:
        target = _of(resources, "HorizontalPodAutoscaler")["worker"]["spec"]["scaleTargetRef"]["name"]
        assert target == "mailroom-worker"
        assert "replicas" not in _of(resources, "Deployment")["worker"]["spec"]

    def test_migrations_come_before_what_needs_them(self, resources: list[Resource]) -> None:
        for job in _of(resources, "Job").values():
            assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
