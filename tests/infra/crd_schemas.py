"""JSON Schemas of objects that are not Kubernetes' own: KEDA's and the Prometheus operator's.

Written for these tests from the published definitions (KEDA 2.15 to 2.21: ``keda.sh/v1alpha1``; Prometheus operator:
``monitoring.coreos.com/v1``). They know the fields that a person might use here and refuse every other one, as an API
server prunes it: stricter than the definitions, where these take any string. A job inside a ScaledJob is a Job's spec,
and is checked as one by who uses this.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


_TEXT: Schema = {"type": "string", "minLength": 1}
_NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_WORDS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_META = _object(("name",), name=_NAME, namespace=_NAME, labels=_WORDS, annotations=_WORDS)
_TRUTH: Schema = {"enum": ["true", "false"]}
_DIGITS: Schema = {"type": "string", "pattern": "^[0-9]+$"}

# All values of a trigger are strings, numbers and truths, too. One of the two ways to name the queue must be there.
_SQS = _object(
    ("awsRegion",),
    queueURL=_TEXT,
    queueURLFromEnv=_TEXT,
    queueLength={"type": "string", "pattern": "^[1-9][0-9]*$"},
    activationQueueLength=_DIGITS,
    awsRegion=_TEXT,
    awsEndpoint=_TEXT,
    scaleOnInFlight=_TRUTH,
    scaleOnDelayed=_TRUTH,
    identityOwner={"enum": ["pod", "operator"]},
) | {"anyOf": [{"required": ["queueURL"]}, {"required": ["queueURLFromEnv"]}]}

_TRIGGER = _object(
    ("type", "metadata"),
    type={"const": "aws-sqs-queue"},
    name=_NAME,
    metadata=_SQS,
    authenticationRef=_object(
        ("name",), name=_NAME, kind={"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]}
    ),
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    useCachedMetrics={"type": "boolean"},
)

_STRATEGY = _object(
    strategy={"enum": ["default", "custom", "accurate", "eager"]},
    customScalingQueueLengthDeduction=_COUNT,
    customScalingRunningJobPercentage=_TEXT,
    pendingPodConditions={"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
    multipleScalersCalculation={"enum": ["max", "min", "avg", "sum"]},
)

SCALED_JOB = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledJob"},
    metadata=_META,
    spec=_object(
        ("jobTargetRef", "triggers"),
        jobTargetRef={"type": "object", "required": ["template"]},
        pollingInterval={"type": "integer", "minimum": 1},
        minReplicaCount=_COUNT,
        maxReplicaCount={"type": "integer", "minimum": 1},
        successfulJobsHistoryLimit=_COUNT,
        failedJobsHistoryLimit=_COUNT,
        envSourceContainerName=_NAME,
        rollout=_object(
            strategy={"enum": ["default", "gradual"]}, propagationPolicy={"enum": ["background", "foreground"]}
        ),
        scalingStrategy=_STRATEGY,
        triggers={"type": "array", "minItems": 1, "items": _TRIGGER},
    ),
)

TRIGGER_AUTHENTICATION = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "TriggerAuthentication"},
    metadata=_META,
    spec=_object(
        podIdentity=_object(
            ("provider",),
            provider={"enum": ["none", "aws", "aws-eks"]},
            roleArn={"type": "string", "pattern": "^arn:"},
            identityOwner={"enum": ["keda", "workload"]},
        ),
        secretTargetRef={
            "type": "array",
            "items": _object(("parameter", "name", "key"), parameter=_TEXT, name=_NAME, key=_TEXT),
        },
    ),
)

_SELECTOR = _object(matchLabels=_WORDS)

POD_MONITOR = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata=_META,
    spec=_object(
        ("selector", "podMetricsEndpoints"),
        selector=_SELECTOR,
        namespaceSelector=_object(any={"type": "boolean"}, matchNames={"type": "array", "items": _NAME}),
        podTargetLabels={"type": "array", "items": _TEXT},
        podMetricsEndpoints={
            "type": "array",
            "minItems": 1,
            "items": _object(
                ("port",),
                port=_NAME,
                path={"type": "string", "pattern": "^/"},
                interval={"type": "string", "pattern": "^[0-9]+[smh]$"},
                scrapeTimeout={"type": "string", "pattern": "^[0-9]+[smh]$"},
            ),
        },
    ),
)

SCHEMAS: dict[str, Schema] = {
    "ScaledJob": SCALED_JOB,
    "TriggerAuthentication": TRIGGER_AUTHENTICATION,
    "PodMonitor": POD_MONITOR,
}
