"""A ScaledObject as KEDA's CRD has it: fields, types, and no unknown ones, which the API server would drop.

Source: keda.sh_scaledobjects.yaml of KEDA 2.16; `metricType` as the scalers of CPU and of Prometheus take it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Policy(_Closed):
    type: Literal["Pods", "Percent"]
    value: int
    periodSeconds: Annotated[int, Field(gt=0, le=1800)]


class _Rules(_Closed):
    policies: list[_Policy] | None = None
    selectPolicy: Literal["Max", "Min", "Disabled"] | None = None
    stabilizationWindowSeconds: Annotated[int, Field(ge=0, le=3600)] | None = None


class _Behavior(_Closed):
    scaleUp: _Rules | None = None
    scaleDown: _Rules | None = None


class _AutoscalerConfig(_Closed):
    name: str | None = None
    behavior: _Behavior | None = None


class _Advanced(_Closed):
    horizontalPodAutoscalerConfig: _AutoscalerConfig | None = None
    restoreToOriginalReplicaCount: bool | None = None


class _Target(_Closed):
    name: str
    apiVersion: str | None = None
    kind: str | None = None
    envSourceContainerName: str | None = None


class _ByCpu(_Closed):
    class _Metadata(_Closed):
        value: Annotated[str, Field(pattern=r"^[0-9]+$")]
        containerName: str | None = None

    type: Literal["cpu"]
    metricType: Literal["Utilization", "AverageValue"]
    metadata: _Metadata


class _ByPrometheus(_Closed):
    class _Metadata(_Closed):
        serverAddress: Annotated[str, Field(pattern=r"^https?://.")]
        query: str
        threshold: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]

    type: Literal["prometheus"]
    metricType: Literal["Value", "AverageValue"]
    metadata: _Metadata


class ScaledObjectSpec(_Closed):
    """The specification, with the triggers that the chart uses."""

    scaleTargetRef: _Target
    triggers: list[Annotated[_ByCpu | _ByPrometheus, Field(discriminator="type")]]
    minReplicaCount: int | None = None
    maxReplicaCount: int | None = None
    idleReplicaCount: int | None = None
    pollingInterval: int | None = None
    cooldownPeriod: int | None = None
    initialCooldownPeriod: int | None = None
    advanced: _Advanced | None = None
