"""Resources that the Helm chart renders; needs `helm`, but no cluster."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.auth.command_settings import AuthMigrationSettings
from services.auth.settings import AuthSettings
from services.console.settings import ConsoleSettings
from services.gateway.settings import GatewaySettings
from services.kit.settings import Settings
from services.mail.settings import DelivererSettings, MailMigrationSettings, MailSettings, WorkerSettings
from tests.support.deploy.keda import ScaledObjectSpec

CHART = Path(__file__).parents[2] / "deploy/helm/mailroom"
VALUES = {"default": CHART / "values.yaml", "production": CHART / "ci/production-values.yaml"}
SETTINGS: dict[str, type[Settings]] = {
    "auth": AuthSettings, "console": ConsoleSettings, "gateway": GatewaySettings, "mail": MailSettings,
    "worker": WorkerSettings, "deliverer": DelivererSettings,
}  # fmt: skip
WITHOUT_DATABASE = ("console", "gateway")
WITHOUT_REDIS = {"console", "deliverer"}
MIGRATIONS: dict[str, type[Settings]] = {"auth": AuthMigrationSettings, "mail": MailMigrationSettings}
# Settings that an operator adds for all processes.
# Settings that the chart gives where the values choose none.
REPLACEABLE = {"AUTH_REQUIRE_CLIENT_PROOF"}
CHOSEN = set(yaml.safe_load(VALUES["production"].read_text())["settings"])
# Read by the database driver and by OpenTelemetry.
OF_LIBRARIES = {"PGSSLMODE", "PGSSLROOTCERT", "OTEL_EXPORTER_OTLP_ENDPOINT"}

# Workers are scaled by KEDA.
BY_LATENESS = "worker.autoscaling.dueSeconds=30,worker.autoscaling.prometheus=http://prometheus:9090"

type Resource = dict[str, Any]


@pytest.fixture(scope="module", params=VALUES)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    """All resources, with the default values and with those of a production."""
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
    """Return Secret and key behind the file of a variable."""
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    secrets = [source["secret"] for source in volume["projected"]["sources"]]
    [found] = [
        (secret["name"], item["key"]) for secret in secrets for item in secret["items"] if item["path"] == variable
    ]
    return found


def _callers(policy: Resource, port: int) -> set[str]:
    """Return the components that a policy admits at a port."""
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
            fields = (MIGRATIONS if migrations else SETTINGS)[service].model_fields.items()
            read = {str(field.validation_alias or own).upper() for own, field in fields}
            given = {variable.removesuffix("_FILE") for variable in _variables(pod)} - OF_LIBRARIES
            shared = {"AUTH_ADDRESS", "MAIL_ADDRESS", "FRONTEND_REDIRECT_URL", "PUBLIC_URL"}
            assert given - shared - CHOSEN <= read, name
            assert (migrations == "") == ("DRAIN_DELAY_SECONDS" in given), name

    def test_get_no_variable_twice_and_each_as_it_was_meant(self, resources: list[Resource]) -> None:
        for name, pod in _pods(resources):
            [container] = pod["containers"]
            names = [variable["name"] for variable in container["env"]]
            assert sorted(names) == sorted(set(names)), name
            assert _variables(pod).get("MAIL_CACHE_BYTES", "1000000000") == "1000000000"

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
                for item in volume.get("secret", {}).get("items", []):
                    mounted.add(f"{mount['mountPath']}/{item['path']}")
                if "secret" in volume and "items" not in volume["secret"]:
                    assert mount["name"] == "identity", f"{name} sees all of a Secret"
                    mounted |= {f"{mount['mountPath']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")}
            assert volumes == {}, name
            named = {value for value in _variables(pod).values() if value and value.startswith("/run/secrets")}
            assert named <= mounted, name


class TestSettings:
    def test_do_not_repeat_other_values(self, resources: list[Resource]) -> None:
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["propertyNames"]
        refused = re.compile("|".join(known["pattern"] for known in schema["not"]["anyOf"]))
        given = {variable for _, pod in _pods(resources) for variable in _variables(pod)}
        assert {variable for variable in given if not refused.search(variable)} <= CHOSEN | REPLACEABLE
        assert not any(refused.search(variable) for variable in CHOSEN)

    def test_name_the_proxies_where_an_ingress_stands_in_front(self, resources: list[Resource]) -> None:
        given = {value for _, pod in _pods(resources) for value in [_variables(pod).get("GATEWAY_TRUSTED_PROXIES")]}
        assert given <= {None, "10.42.7.0/24"}
        with pytest.raises(AssertionError, match="must name the networks of the ingress controller"):
            _rendered("--set", "ingress.enabled=true")

    def test_demand_pkce_of_clients_unless_the_values_say_otherwise(self, resources: list[Resource]) -> None:
        demanded = {
            entry["value"]
            for given in (resources, _rendered("--set-string", "settings.AUTH_REQUIRE_CLIENT_PROOF=false"))
            for name, pod in _pods(given)
            if "auth" in name
            for entry in pod["containers"][0]["env"]
            if entry["name"] == "AUTH_REQUIRE_CLIENT_PROOF"
        }
        assert demanded == {"true", "false"}

    def test_that_are_refused_are_named(self) -> None:
        with pytest.raises(AssertionError, match="REDIS_HOST"):
            _rendered("--set", "settings.REDIS_HOST=elsewhere")


class TestServers:
    def test_are_verified_unless_the_values_say_otherwise(self) -> None:
        for name, pod in _pods(_rendered()):
            variables = _variables(pod)
            if name not in WITHOUT_DATABASE:
                assert variables["PGSSLMODE"] == "verify-full"
                assert variables["PGSSLROOTCERT"] == "/run/secrets/postgres/postgres-ca.crt"
            has_redis = not name.endswith("-migrations") and name not in WITHOUT_REDIS
            assert variables.get("REDIS_TLS") == ("true" if has_redis else None)

    def test_without_tls_need_no_certificate(self) -> None:
        for name, pod in _pods(_rendered("--set", "postgres.sslMode=disable,redis.tls=false")):
            assert "PGSSLROOTCERT" not in _variables(pod), name
            assert "postgres" not in {volume["name"] for volume in pod["volumes"]}, name

    def test_cannot_be_verified_without_their_authority(self) -> None:
        with pytest.raises(AssertionError, match=r"secrets\.postgresCa: must name"):
            _rendered("--set", "secrets.postgresCa.name=")


class TestSecrets:
    def test_reach_only_the_processes_that_use_them(self, resources: list[Resource]) -> None:
        owners: dict[str, set[str]] = {}
        for name, pod in _pods(resources):
            for variable in _variables(pod):
                if variable.endswith("_FILE"):
                    owners.setdefault(variable.removesuffix("_FILE"), set()).add(name)
        owners.pop("SECRET_KEY_PREVIOUS", None)
        assert owners.pop("MAIL_SECRET_KEY_PREVIOUS", {"mail", "deliverer"}) == {"mail", "deliverer"}
        assert owners.pop("CONSOLE_SECRET_KEY", {"console"}) == {"console"}
        assert owners.pop("POSTGRES_PASSWORD", {"auth-migrations", "mail-migrations"}) == {
            "auth-migrations",
            "mail-migrations",
        }
        assert owners == {
            "SECRET_KEY": {"auth"},
            "GOOGLE_CLIENT_SECRET": {"auth"},
            "AUTH_POSTGRES_PASSWORD": {"auth", "auth-migrations"},
            "MAIL_POSTGRES_PASSWORD": {"mail", "mail-migrations"},
            "WORKER_POSTGRES_PASSWORD": {"worker", "mail-migrations"},
            "DELIVERER_POSTGRES_PASSWORD": {"deliverer", "mail-migrations"},
            "MAIL_SECRET_KEY": {"mail", "deliverer"},
            "AUTH_POSTGRES_OWNER_PASSWORD": {"auth-migrations"},
            "MAIL_POSTGRES_OWNER_PASSWORD": {"mail-migrations"},
            "REDIS_PASSWORD": {"auth", "gateway", "mail", "worker"},
        }

    def test_of_further_providers_are_auths_alone(self) -> None:
        pods = dict(_pods(_rendered("--set", "secrets.providers.name=own")))
        shown = {
            name: volume["secret"].get("items", "all")
            for name, pod in pods.items()
            for volume in pod["volumes"]
            if volume["name"] == "providers"
        }
        file = [{"key": "providers.toml", "path": "providers.toml"}]
        assert shown == {"auth": "all", "mail": file, "worker": file}
        for name in shown:
            assert _variables(pods[name])["PROVIDERS_FILE"] == "/run/secrets/providers/providers.toml"

    def test_of_google_are_not_asked_for_where_it_has_no_client(self) -> None:
        pods = dict(_pods(_rendered("--set", "secrets.googleClientId.name=,secrets.googleClientSecret.name=")))
        assert not [name for name in _variables(pods["auth"]) if name.startswith("GOOGLE_")]

    def test_of_owners_of_tables_are_not_asked_for_where_the_processes_own_them(self) -> None:
        owned = _rendered("--set", "postgres.authOwner=,postgres.mailOwner=")
        for name, pod in _pods(owned):
            assert not [variable for variable in _variables(pod) if variable.endswith("OWNER_PASSWORD_FILE")], name

    def test_of_the_gateway_at_redis_are_its_own_where_it_has_a_name_of_its_own(self) -> None:
        chosen = ("redis.username=rest,redis.gatewayUsername=gateway", "secrets.redisGatewayPassword.name=own")
        own = _rendered(*(argument for pair in chosen for argument in ("--set", pair)))
        secrets = {
            name: (_variables(pod)["REDIS_USERNAME"], _secret_of(pod, "REDIS_PASSWORD"))
            for name, pod in _pods(own)
            if name in SETTINGS and name not in WITHOUT_REDIS
        }
        rest = ("rest", ("mailroom", "redis-password"))
        gateway = {"gateway": ("gateway", ("own", "redis-gateway-password"))}
        assert secrets == dict.fromkeys(SETTINGS.keys() - WITHOUT_REDIS, rest) | gateway

    def test_of_sign_ins_at_redis_are_auths_alone_where_they_have_a_server_of_their_own(self) -> None:
        chosen = "redis.signIns.host=sign-ins,redis.signIns.port=6380,secrets.redisSignInsPassword.name=own"
        rendered = _rendered("--set", chosen)
        pods = dict(_pods(rendered))
        names = {name for name, pod in pods.items() if any("SIGN_IN_REDIS" in each for each in _variables(pod))}
        assert names == {"auth"}
        assert _secret_of(pods["auth"], "AUTH_SIGN_IN_REDIS_PASSWORD") == ("own", "redis-sign-ins-password")
        variables = _variables(pods["auth"])
        assert {name: value for name, value in variables.items() if "SIGN_IN_REDIS" in name} == {
            "AUTH_SIGN_IN_REDIS_HOST": "sign-ins",
            "AUTH_SIGN_IN_REDIS_PORT": "6380",
            "AUTH_SIGN_IN_REDIS_DB": "0",
            "AUTH_SIGN_IN_REDIS_USERNAME": "",
            "AUTH_SIGN_IN_REDIS_PASSWORD_FILE": "/run/secrets/mailroom/AUTH_SIGN_IN_REDIS_PASSWORD",
        }
        known = SETTINGS["auth"].model_fields
        assert {name.lower().removesuffix("_file") for name in variables if "SIGN_IN" in name} <= known.keys()
        reached = {
            name
            for name, policy in _of(rendered, "NetworkPolicy").items()
            if any(port["port"] == 6380 for rule in policy["spec"].get("egress", ()) for port in rule.get("ports", ()))
        }
        assert reached == {"auth"}

    def test_of_webhooks_have_to_be_named_where_a_deliverer_runs(self) -> None:
        nameless = ("--set", "secrets.mailSecretKey.name=")
        with pytest.raises(AssertionError, match=r"secrets\.mailSecretKey: must name"):
            _rendered(*nameless)
        without = dict(_pods(_rendered(*nameless, "--set", "deliverer.replicas=0")))
        assert "MAIL_SECRET_KEY_FILE" not in _variables(without["mail"])

    @pytest.mark.parametrize(
        ("user", "secret"),
        [("redis.gatewayUsername", "redisGatewayPassword"), ("postgres.administrator", "postgresPassword")],
    )
    def test_of_a_user_have_to_be_named(self, user: str, secret: str) -> None:
        with pytest.raises(AssertionError, match=f"secrets.{secret}: must name"):
            _rendered("--set", f"{user}=somebody")

    def test_are_no_values(self) -> None:
        with pytest.raises(AssertionError, match="SECRET_KEY"):
            _rendered("--set", "settings.SECRET_KEY=known")


class TestIngress:
    def test_is_for_the_host_of_the_public_address(self) -> None:
        values = (
            "publicUrl=https://mail.example.com:8443",
            "ingress.enabled=true",
            "settings.GATEWAY_TRUSTED_PROXIES=10.42.7.0/24",
        )
        [ingress] = _of(_rendered(*(argument for pair in values for argument in ("--set", pair))), "Ingress").values()
        assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["mail.example.com"]


class TestNetworkPolicies:
    def test_deny_all_other_traffic(self, resources: list[Resource]) -> None:
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

    def test_allow_egress_to_dns_servers_and_the_provider_as_needed(self, resources: list[Resource]) -> None:
        policies = _of(resources, "NetworkPolicy")
        for name in ("auth", "mail", "worker", "deliverer", "migrations"):
            rules = policies[name]["spec"]["egress"]
            ports = {port["port"] for rule in rules for port in rule["ports"]}
            assert {53, 5432} <= ports, name
            provider = [rule for rule in rules if rule["ports"][0]["port"] == 443]
            assert len(provider) == (name != "migrations"), name
            # Not to addresses of the cluster and of its cloud.
            for rule in provider:
                [everywhere] = [peer["ipBlock"] for peer in rule["to"] if peer["ipBlock"]["cidr"] == "0.0.0.0/0"]
                assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(everywhere["except"])

    def test_let_deliverers_reach_postgres_and_https_outside_alone(self, resources: list[Resource]) -> None:
        policy = _of(resources, "NetworkPolicy")["deliverer"]["spec"]
        assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} <= {53, 443, 1024, 4317, 5432}
        ports = [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 1024, "endPort": 65535}]
        [outside] = [rule for rule in policy["egress"] if rule["ports"] == ports]
        [everywhere] = [peer["ipBlock"] for peer in outside["to"] if peer["ipBlock"]["cidr"] == "0.0.0.0/0"]
        assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(everywhere["except"])
        # Its metrics are all that it serves.
        assert [rule["ports"][0]["port"] for rule in policy["ingress"] or []] in ([], [9105])
        [pod] = [pod for name, pod in _pods(resources) if name == "deliverer"]
        # No certificate of a service, and no CA of Redis.
        assert {volume["name"] for volume in pod["volumes"]} == {"secrets", "postgres"}
        assert pod["containers"][0]["args"] == ["services.mail.deliverer"]

    def test_keep_the_gateway_from_databases_and_the_provider(self, resources: list[Resource]) -> None:
        rules = _of(resources, "NetworkPolicy")["gateway"]["spec"]["egress"]
        ports = {port["port"] for rule in rules for port in rule["ports"]}
        [redis_port] = {int(str(_variables(pod)["REDIS_PORT"])) for name, pod in _pods(resources) if name == "gateway"}
        assert redis_port in ports
        assert ports <= {53, 4317, 50051, 50052, redis_port}

    def test_let_the_console_reach_the_gateway_and_itself_alone(self, resources: list[Resource]) -> None:
        policies = _of(resources, "NetworkPolicy")
        rules = policies["console"]["spec"]["egress"]
        assert {port["port"] for rule in rules for port in rule["ports"]} <= {53, 4317, 8000, 8001}
        of_itself = policies["console"]["spec"]["ingress"][0]
        for peers in (of_itself.get("from"), next(rule["to"] for rule in rules if rule["ports"][0]["port"] == 8001)):
            selectors = [peer["podSelector"]["matchLabels"] for peer in peers or () if "podSelector" in peer]
            assert peers is None or selectors[-1]["app.kubernetes.io/component"] == "console"
        admitted = _of(resources, "NetworkPolicy")["gateway"]["spec"]["ingress"][0]
        peers = [peer["podSelector"]["matchLabels"] for peer in admitted.get("from", ()) if "podSelector" in peer]
        assert "from" not in admitted or "console" in {peer["app.kubernetes.io/component"] for peer in peers}


class TestMonitoring:
    def test_watches_by_the_rules_that_promtool_tests(self) -> None:
        [rule] = _of(_rendered("--set", "prometheusRule.enabled=true"), "PrometheusRule").values()
        rules = CHART.parents[1] / "observability/rules.yml"
        assert rule["spec"] == yaml.safe_load(rules.read_text())

    def test_names_processes_as_the_rules_do(self) -> None:
        [monitor] = _of(_rendered("--set", "podMonitor.enabled=true"), "PodMonitor").values()
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        [job] = endpoint["relabelings"]
        assert (endpoint["port"], job["targetLabel"], job["replacement"]) == ("admin", "job", "mailroom-$1")


class TestAvailability:
    def test_a_pod_has_the_time_that_it_needs_to_stop(self, resources: list[Resource]) -> None:
        for name in SETTINGS:
            pod = _of(resources, "Deployment")[name]["spec"]["template"]["spec"]
            delay = float(str(_variables(pod)["DRAIN_DELAY_SECONDS"]))
            assert pod["terminationGracePeriodSeconds"] >= delay + 20, name
        with pytest.raises(AssertionError, match="terminationGracePeriodSeconds"):
            _rendered("--set", "drainDelaySeconds=30")

    def test_callers_find_every_pod_of_a_service_that_speaks_grpc(self, resources: list[Resource]) -> None:
        services = _of(resources, "Service")
        assert {name: service["spec"].get("clusterIP") for name, service in services.items()} == {
            "auth": "None",
            "mail": "None",
            "console": None,
            "gateway": None,
        } | ({"console-pods": "None"} if "console-pods" in services else {})

    def test_pods_of_the_console_find_each_other_where_they_share_a_secret(self, resources: list[Resource]) -> None:
        variables = _variables(_of(resources, "Deployment")["console"]["spec"]["template"]["spec"])
        has_secret = "CONSOLE_SECRET_KEY_FILE" in variables
        assert ("console-pods" in _of(resources, "Service")) == has_secret
        assert variables.get("CONSOLE_PEERS") == ("mailroom-console-pods:8001" if has_secret else None)

    def test_another_version_of_the_chart_alone_replaces_no_pod(self, resources: list[Resource]) -> None:
        for name, deployment in _of(resources, "Deployment").items():
            pod = deployment["spec"]["template"]["metadata"]["labels"]
            assert pod == deployment["spec"]["selector"]["matchLabels"], name

    def test_one_pod_at_a_time_is_taken_away(self, resources: list[Resource]) -> None:
        budgets = _of(resources, "PodDisruptionBudget")
        assert {name: budget["spec"]["maxUnavailable"] for name, budget in budgets.items()} == dict.fromkeys(
            SETTINGS, 1
        )

    def test_workers_follow_their_load(self, resources: list[Resource]) -> None:
        target = _of(resources, "HorizontalPodAutoscaler")["worker"]["spec"]["scaleTargetRef"]["name"]
        assert target == "mailroom-worker"
        assert "replicas" not in _of(resources, "Deployment")["worker"]["spec"]

    def test_migrations_run_before_the_services_and_after_their_own_resources(self, resources: list[Resource]) -> None:
        hooks = {
            (resource["kind"], resource["metadata"]["name"]): int(annotations["helm.sh/hook-weight"])
            for resource in resources
            if (annotations := resource["metadata"].get("annotations", {})).get("helm.sh/hook")
            == "pre-install,pre-upgrade"
        }
        jobs = {("Job", f"mailroom-{service}-migrations"): 0 for service in ("auth", "mail")}
        needed = {(kind, "mailroom-migrations"): -1 for kind in ("ServiceAccount", "NetworkPolicy")}
        assert hooks == jobs | needed


class TestConnections:
    @pytest.mark.parametrize(
        "values",
        ["worker.autoscaling.max=13", "settings.WORKER_SLOTS=12", "auth.replicas=6", "postgres.maxConnections=100"],
    )
    def test_of_more_pods_than_postgres_allows_are_refused(self, values: str) -> None:
        with pytest.raises(AssertionError, match=r"postgres\.maxConnections: must be \d+ or more"):
            _rendered("--set", values)

    def test_count_the_pools_that_the_settings_give(self) -> None:
        # (2 + 1) * 10 + (2 + 1) * 10 + (10 + 1) * 18 + (1 + 1) * 11, and 10.
        assert _rendered("--set", "postgres.maxConnections=290")
        with pytest.raises(AssertionError, match="must be 290 or more"):
            _rendered("--set", "postgres.maxConnections=289")
        assert _rendered("--set", "worker.autoscaling.max=20,settings.WORKER_SLOTS=4,postgres.maxConnections=302")


class TestPlacement:
    VALUES = (
        "--set", "image.digests.mail=sha256:" + "a" * 64, "--set", "priorityClassName=high", "--set-string",
        "podAnnotations.owner=mail", "--set", "affinity.podAntiAffinity.x=1",
    )  # fmt: skip

    def test_of_pods_is_chosen_by_values(self) -> None:
        deployments = _of(_rendered(*self.VALUES), "Deployment")
        for name, deployment in deployments.items():
            template = deployment["spec"]["template"]
            assert template["metadata"]["annotations"] == {"owner": "mail"}, name
            assert template["spec"]["priorityClassName"] == "high", name
            assert template["spec"]["affinity"] == {"podAntiAffinity": {"x": 1}}, name

    def test_pins_images_by_digest_where_one_is_given(self) -> None:
        images = {name: pod["containers"][0]["image"] for name, pod in _pods(_rendered(*self.VALUES))}
        pinned = {name for name, image in images.items() if image.endswith("@sha256:" + "a" * 64)}
        assert pinned == {"mail", "worker", "deliverer", "mail-migrations"}
        assert images["auth"].startswith("mailroom/auth:")


class TestAutoscaling:
    def test_of_workers_goes_down_slowly(self) -> None:
        [scaler] = _of(_rendered(), "HorizontalPodAutoscaler").values()
        assert scaler["spec"]["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 300}}

    def test_by_lateness_is_left_to_keda(self) -> None:
        resources = _rendered("--set", BY_LATENESS)
        assert _of(resources, "HorizontalPodAutoscaler") == {}
        [scaled] = _of(resources, "ScaledObject").values()
        assert (scaled["apiVersion"], scaled["metadata"]["name"]) == ("keda.sh/v1alpha1", "mailroom-worker")
        spec = ScaledObjectSpec.model_validate(scaled["spec"])
        assert spec.scale_target_ref.name == "mailroom-worker"
        assert (spec.min_replica_count, spec.max_replica_count) == (2, 10)
        assert [trigger.type for trigger in spec.triggers] == ["cpu", "prometheus"]
        assert spec.triggers[1].model_dump(by_alias=True)["metadata"] == {
            "serverAddress": "http://prometheus:9090",
            # tests/e2e/test_dashboard.py asks it of a Prometheus.
            "query": 'max(mailroom_oldest_due_seconds{lane="live"})',
            "threshold": "30",
        }

    def test_by_lateness_takes_a_behaviour_of_ones_own(self) -> None:
        behaviour = {
            "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "selectPolicy": "Max"}
        }
        [scaled] = _of(
            _rendered("--set", BY_LATENESS, "--set-json", f"worker.autoscaling.behaviour={json.dumps(behaviour)}"),
            "ScaledObject",
        ).values()
        found = ScaledObjectSpec.model_validate(scaled["spec"]).model_dump(exclude_none=True, by_alias=True)
        assert found["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"] == behaviour["scaleUp"]

    def test_by_lateness_needs_a_prometheus(self) -> None:
        with pytest.raises(AssertionError, match=r"worker\.autoscaling\.prometheus must be set"):
            _rendered("--set", "worker.autoscaling.dueSeconds=30")


def test_alerts_name_runbooks_at_the_given_address() -> None:
    [rule] = _of(
        _rendered("--set", "prometheusRule.enabled=true,prometheusRule.runbooks=https://x/"), "PrometheusRule"
    ).values()
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
    assert all(alert["annotations"]["runbook_url"].startswith("https://x/docs/observe.md#") for alert in alerts)
    assert len(alerts) > 20
