{{/* A deployment with its autoscaler and disruption budget: dict "root" $ "name" NAME "ports" (dict NAME NUMBER ...). */}}
{{- define "mailroom.deployment" -}}
{{- $own := get .root.Values .name -}}
{{- $fullname := printf "%s-%s" (include "mailroom.fullname" .root) .name -}}
{{- /* After the delay: ten seconds for running requests, ten to close connections. */ -}}
{{- if lt (float64 .root.Values.terminationGracePeriodSeconds) (addf .root.Values.drainDelaySeconds 20) -}}
{{- fail "terminationGracePeriodSeconds: must be 20 more than drainDelaySeconds, or pods are killed while they answer" -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $fullname }}
  labels: {{- include "mailroom.labels" . | nindent 4 }}
  {{- with .root.Values.deploymentAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not $own.autoscaling.enabled }}
  replicas: {{ $own.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "mailroom.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      # Those that never change: another version of the chart alone replaces no pod.
      labels: {{- include "mailroom.selector" . | nindent 8 }}
      {{- with .root.Values.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- with .root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with .root.Values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- include "mailroom.podSecurity" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          # Spread pods of one revision: old pods disappear after a rollout.
          matchLabelKeys: [pod-template-hash]
          labelSelector:
            matchLabels: {{- include "mailroom.selector" $ | nindent 14 }}
        {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "mailroom.image" . | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          {{- if has .name (list "worker" "deliverer") }}
          args: [services.mail.{{ .name }}]
          {{- end }}
          {{- include "mailroom.containerSecurity" . | nindent 10 }}
          env: {{- include "mailroom.variables" . | nindent 12 }}
          ports:
            {{- range $port, $number := .ports }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
          startupProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          resources: {{- toYaml $own.resources | nindent 12 }}
          volumeMounts: {{- include "mailroom.mounts" . | trim | default "[]" | nindent 12 }}
      volumes: {{- include "mailroom.volumes" . | trim | default "[]" | nindent 8 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $fullname }}
  labels: {{- include "mailroom.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  # An unready pod must not block the drain of a node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "mailroom.selector" . | nindent 6 }}
{{- if and $own.autoscaling.enabled (get $own.autoscaling "dueSeconds") }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $fullname }}
  labels: {{- include "mailroom.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ $fullname }}}
  minReplicaCount: {{ $own.autoscaling.min }}
  maxReplicaCount: {{ $own.autoscaling.max }}
  {{- with $own.autoscaling.behaviour }}
  advanced: {horizontalPodAutoscalerConfig: {behavior: {{ toJson . }}}}
  {{- end }}
  triggers:
    - type: cpu
      metricType: Utilization
      metadata: {value: {{ $own.autoscaling.cpu | quote }}}
    - type: prometheus
      metricType: Value
      metadata:
        serverAddress: {{ required (printf "%s.autoscaling.prometheus must be set beside dueSeconds" .name) $own.autoscaling.prometheus | quote }}
        query: max(mailroom_oldest_due_seconds{lane="live"})
        threshold: {{ $own.autoscaling.dueSeconds | quote }}
{{- else if $own.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $fullname }}
  labels: {{- include "mailroom.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $fullname }}}
  minReplicas: {{ $own.autoscaling.min }}
  maxReplicas: {{ $own.autoscaling.max }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $own.autoscaling.cpu }}}
  {{- with get $own.autoscaling "behaviour" }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Headless for gRPC: clients balance calls over all pods themselves. */}}
{{- define "mailroom.serviceOf" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "mailroom.fullname" .root }}-{{ .name }}{{ .suffix | default "" }}
  labels: {{- include "mailroom.labels" . | nindent 4 }}
spec:
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  selector: {{- include "mailroom.selector" . | nindent 4 }}
  ports:
    - {name: {{ .port }}, port: {{ .number }}, targetPort: {{ .port }}}
{{- end }}
