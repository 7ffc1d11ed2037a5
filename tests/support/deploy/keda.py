"""A ScaledObject as KEDA's CRD has it: fields, types, and no unknown ones, which the API server would drop.

Source: keda.sh_scaledobjects.yaml of KEDA 2.16; `metricType` as the scalers of CPU and of Prometheus take it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Policy(_Closed):
    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: Annotated[int, Field(gt=0, le=1800)]


class _Rules(_Closed):
    policies: list[_Policy] | None = None
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None


class _Behavior(_Closed):
    scale_up: _Rules | None = None
    scale_down: _Rules | None = None


class _AutoscalerConfig(_Closed):
    name: str | None = None
    behavior: _Behavior | None = None


class _Advanced(_Closed):
    horizontal_pod_autoscaler_config: _AutoscalerConfig | None = None
    restore_to_original_replica_count: bool | None = None


class _Target(_Closed):
    name: str
    api_version: str | None = None
    kind: str | None = None
    env_source_container_name: str | None = None


class _ByCpu(_Closed):
    class _Metadata(_Closed):
        value: Annotated[str, Field(pattern=r"^[0-9]+$")]
        container_name: str | None = None

    type: Literal["cpu"]
    metric_type: Literal["Utilization", "AverageValue"]
    metadata: _Metadata


class _ByPrometheus(_Closed):
    class _Metadata(_Closed):
        server_address: Annotated[str, Field(pattern=r"^https?://.")]
        query: str
        threshold: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]

    type: Literal["prometheus"]
    metric_type: Literal["Value", "AverageValue"]
    metadata: _Metadata


class ScaledObjectSpec(_Closed):
    """The specification, with the triggers that the chart uses."""

    scale_target_ref: _Target
    triggers: list[Annotated[_ByCpu | _ByPrometheus, Field(discriminator="type")]]
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    idle_replica_count: int | None = None
    polling_interval: int | None = None
    cooldown_period: int | None = None
    initial_cooldown_period: int | None = None
    advanced: _Advanced | None = None
