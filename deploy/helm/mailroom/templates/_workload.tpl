{{/* Common parts of all processes. Parameters: (dict "root" $ "name" "auth"|"mail"|"worker"|"deliverer"|"gateway"|"console"). */}}

{{- define "mailroom.fullname" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "mailroom.selector" -}}
app.kubernetes.io/name: mailroom
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "mailroom.labels" -}}
{{ include "mailroom.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Image, database and certificate are those of the service; a worker has mail's, a deliverer its image and database. */}}
{{- define "mailroom.service" -}}
{{ ternary "mail" .name (has .name (list "worker" "deliverer")) }}
{{- end }}

{{/* Whether a process calls Redis and other services, with a certificate of its service. */}}
{{- define "mailroom.hasPeers" -}}
{{ and (not .migrations) (not (has .name (list "console" "deliverer"))) }}
{{- end }}

{{- define "mailroom.image" -}}
{{- $service := include "mailroom.service" . -}}
{{ .root.Values.image.repository }}/{{ $service }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- with get .root.Values.image.digests $service }}@{{ . }}{{ end }}
{{- end }}

{{/* Secrets of a process as (variable, secret) pairs: it reads them from /run/secrets/mailroom/VARIABLE. */}}
{{- define "mailroom.secretFiles" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $own := dict -}}
{{- if eq .name "auth" -}}
{{- $_ := set $own "AUTH_POSTGRES_PASSWORD" $secrets.postgresAuthPassword -}}
{{- else if eq .name "mail" -}}
{{- $_ := set $own "MAIL_POSTGRES_PASSWORD" $secrets.postgresMailPassword -}}
{{- end -}}
{{- if or (eq .name "worker") (and (eq .name "mail") .migrations) -}}
{{- $_ := set $own "WORKER_POSTGRES_PASSWORD" $secrets.postgresWorkerPassword -}}
{{- end -}}
{{- if or (eq .name "deliverer") (and (eq .name "mail") .migrations) -}}
{{- $_ := set $own "DELIVERER_POSTGRES_PASSWORD" $secrets.postgresDelivererPassword -}}
{{- end -}}
{{- if and (has .name (list "mail" "deliverer")) (not .migrations) -}}
{{- $_ := set $own "MAIL_SECRET_KEY" $secrets.mailSecretKey -}}
{{- $_ := set $own "MAIL_SECRET_KEY_PREVIOUS" $secrets.mailSecretKeyPrevious -}}
{{- end -}}
{{- if .migrations -}}
{{- $_ := set $own "POSTGRES_PASSWORD" $secrets.postgresPassword -}}
{{- if and (eq .name "auth") .root.Values.postgres.authOwner -}}
{{- $_ := set $own "AUTH_POSTGRES_OWNER_PASSWORD" $secrets.postgresAuthOwnerPassword -}}
{{- else if and (eq .name "mail") .root.Values.postgres.mailOwner -}}
{{- $_ := set $own "MAIL_POSTGRES_OWNER_PASSWORD" $secrets.postgresMailOwnerPassword -}}
{{- end -}}
{{- else if eq .name "console" -}}
{{- $_ := set $own "CONSOLE_SECRET_KEY" $secrets.consoleSecretKey -}}
{{- else if ne .name "deliverer" -}}
{{- $ofGateway := and (eq .name "gateway") .root.Values.redis.gatewayUsername -}}
{{- $_ := set $own "REDIS_PASSWORD" (ternary $secrets.redisGatewayPassword $secrets.redisPassword (not (not $ofGateway))) -}}
{{- if eq .name "auth" -}}
{{- if .root.Values.redis.signIns.host -}}
{{- $_ := set $own "AUTH_SIGN_IN_REDIS_PASSWORD" $secrets.redisSignInsPassword -}}
{{- end -}}
{{- $_ := set $own "SECRET_KEY" $secrets.secretKey -}}
{{- $_ := set $own "SECRET_KEY_PREVIOUS" $secrets.secretKeyPrevious -}}
{{- $_ := set $own "GOOGLE_CLIENT_SECRET" $secrets.googleClientSecret -}}
{{- $_ := set $own "YANDEX_CLIENT_SECRET" $secrets.yandexClientSecret -}}
{{- end -}}
{{- end -}}
{{- range $variable, $secret := $own -}}
{{- if not $secret.name -}}{{- $_ := unset $own $variable -}}{{- end -}}
{{- end -}}
{{ toJson $own }}
{{- end }}

{{/* Whether a process gets the file of further providers. */}}
{{- define "mailroom.hasProviders" -}}
{{ and (not (has .name (list "gateway" "console" "deliverer"))) (not .migrations) (ne .root.Values.secrets.providers.name "") }}
{{- end }}

{{/* Whether a process gets the CA of Postgres's certificate. */}}
{{- define "mailroom.hasPostgresCa" -}}
{{ and (not (has .name (list "gateway" "console"))) (hasPrefix "verify-" .root.Values.postgres.sslMode) }}
{{- end }}

{{- define "mailroom.postgresVariables" -}}
{{- $postgres := .root.Values.postgres -}}
- {name: POSTGRES_HOST, value: {{ $postgres.host | quote }}}
- {name: POSTGRES_PORT, value: {{ $postgres.port | quote }}}
- {name: POSTGRES_DB, value: {{ $postgres.database | quote }}}
- {name: PGSSLMODE, value: {{ $postgres.sslMode | quote }}}
{{- if and (hasPrefix "verify-" $postgres.sslMode) (not .root.Values.secrets.postgresCa.name) }}
{{- fail (printf "secrets.postgresCa: must name the CA of the server's certificate for postgres.sslMode %s" $postgres.sslMode) }}
{{- end }}
{{- if eq (include "mailroom.hasPostgresCa" .) "true" }}
- {name: PGSSLROOTCERT, value: /run/secrets/postgres/{{ .root.Values.secrets.postgresCa.key }}}
{{- end }}
{{- if eq .name "auth" }}
- {name: AUTH_POSTGRES_USER, value: {{ $postgres.authUser | quote }}}
{{- else if eq .name "mail" }}
- {name: MAIL_POSTGRES_USER, value: {{ $postgres.mailUser | quote }}}
{{- end }}
{{- if or (eq .name "worker") (and (eq .name "mail") .migrations) }}
- {name: WORKER_POSTGRES_USER, value: {{ $postgres.workerUser | quote }}}
{{- end }}
{{- if or (eq .name "deliverer") (and (eq .name "mail") .migrations) }}
- {name: DELIVERER_POSTGRES_USER, value: {{ $postgres.delivererUser | quote }}}
{{- end }}
{{- if and .migrations (eq .name "auth") }}
- {name: AUTH_POSTGRES_OWNER, value: {{ $postgres.authOwner | quote }}}
{{- else if .migrations }}
- {name: MAIL_POSTGRES_OWNER, value: {{ $postgres.mailOwner | quote }}}
{{- end }}
{{- if and .migrations $postgres.administrator }}
- {name: POSTGRES_USER, value: {{ $postgres.administrator | quote }}}
{{- end }}
{{- end }}

{{/* Fails if the pools of all pods, of one more of each during a rollout, and of migrations do not fit. */}}
{{- define "mailroom.refuseTooFewConnections" -}}
{{- $values := .Values -}}
{{- $pools := dict "auth" (int (get $values.settings "AUTH_POSTGRES_POOL" | default 10)) -}}
{{- $_ := set $pools "mail" (int (get $values.settings "MAIL_POSTGRES_POOL" | default 10)) -}}
{{- $_ := set $pools "worker" (add 2 (mul 2 (int (get $values.settings "WORKER_SLOTS" | default 8)))) -}}
{{- $_ := set $pools "deliverer" (add 1 (int (get $values.settings "DELIVERER_POSTGRES_POOL" | default 10))) -}}
{{- $wanted := 10 -}}
{{- range $name, $pool := $pools -}}
{{- $own := get $values $name -}}
{{- $pods := ternary $own.autoscaling.max $own.replicas $own.autoscaling.enabled -}}
{{- $wanted = add $wanted (mul $pool (add 1 (int $pods))) -}}
{{- end -}}
{{- if gt $wanted (int $values.postgres.maxConnections) -}}
{{- fail (printf "postgres.maxConnections: must be %d or more for these replicas and pools, and the server must allow them" $wanted) -}}
{{- end -}}
{{- end }}

{{- define "mailroom.redisUsername" -}}
{{- $redis := .root.Values.redis -}}
{{ ternary ($redis.gatewayUsername | default $redis.username) $redis.username (eq .name "gateway") }}
{{- end }}

{{/* Of every process but migrations. */}}
{{- define "mailroom.commonVariables" }}
- {name: MAILROOM_VERSION, value: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}}
- {name: DRAIN_DELAY_SECONDS, value: {{ .root.Values.drainDelaySeconds | quote }}}
{{- end }}

{{- define "mailroom.variables" -}}
{{- $values := .root.Values -}}
{{- range $variable, $_ := fromJson (include "mailroom.secretFiles" .) }}
- {name: {{ $variable }}_FILE, value: /run/secrets/mailroom/{{ $variable }}}
{{- end }}
{{- if not (has .name (list "gateway" "console")) }}
{{ include "mailroom.postgresVariables" . }}
{{- end }}
{{- if eq .name "console" }}
- {name: CONSOLE_GATEWAY_URL, value: "http://{{ include "mailroom.fullname" .root }}-gateway:8000"}
{{- with $values.consoleUrl }}
- {name: CONSOLE_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- if $values.secrets.consoleSecretKey.name }}
- {name: CONSOLE_PEERS, value: "{{ include "mailroom.fullname" .root }}-console-pods:8001"}
{{- end }}
- {name: PUBLIC_URL, value: {{ $values.publicUrl | quote }}}
{{- include "mailroom.commonVariables" . }}
{{- else if and (eq .name "deliverer") (not .migrations) }}
{{- include "mailroom.commonVariables" . }}
{{- else if not .migrations }}
- {name: REDIS_HOST, value: {{ $values.redis.host | quote }}}
- {name: REDIS_PORT, value: {{ $values.redis.port | quote }}}
- {name: REDIS_DB, value: {{ $values.redis.database | quote }}}
- {name: REDIS_USERNAME, value: {{ include "mailroom.redisUsername" . | quote }}}
- {name: REDIS_TLS, value: {{ $values.redis.tls | quote }}}
{{- if $values.secrets.redisCa.name }}
- {name: REDIS_CA, value: /run/secrets/redis/{{ $values.secrets.redisCa.key }}}
{{- end }}
- {name: MAILROOM_TLS_CERT, value: /run/secrets/identity/tls.crt}
- {name: MAILROOM_TLS_KEY, value: /run/secrets/identity/tls.key}
- {name: MAILROOM_TLS_CA, value: /run/secrets/identity/ca.crt}
- {name: AUTH_ADDRESS, value: {{ include "mailroom.fullname" .root }}-auth:50051}
- {name: MAIL_ADDRESS, value: {{ include "mailroom.fullname" .root }}-mail:50052}
- {name: PUBLIC_URL, value: {{ $values.publicUrl | quote }}}
- {name: FRONTEND_REDIRECT_URL, value: {{ $values.frontendRedirectUrl | quote }}}
{{- if and $values.ingress.enabled (not (hasKey $values.settings "GATEWAY_TRUSTED_PROXIES")) }}
{{- fail "settings.GATEWAY_TRUSTED_PROXIES must name the networks of the ingress controller's pods: without it all clients count as one" }}
{{- end }}
{{- if and (ne .name "gateway") $values.secrets.providers.name }}
- {name: PROVIDERS_FILE, value: /run/secrets/providers/{{ $values.secrets.providers.key }}}
{{- end }}
{{- if eq .name "auth" }}
{{- if $values.secrets.googleClientId.name }}
- name: GOOGLE_CLIENT_ID
  valueFrom: {secretKeyRef: {name: {{ $values.secrets.googleClientId.name }}, key: {{ $values.secrets.googleClientId.key }}}}
{{- end }}
{{- with $values.redis.signIns }}
{{- if .host }}
- {name: AUTH_SIGN_IN_REDIS_HOST, value: {{ .host | quote }}}
- {name: AUTH_SIGN_IN_REDIS_PORT, value: {{ .port | quote }}}
- {name: AUTH_SIGN_IN_REDIS_DB, value: {{ .database | quote }}}
- {name: AUTH_SIGN_IN_REDIS_USERNAME, value: {{ .username | quote }}}
{{- end }}
{{- end }}
{{- if not (hasKey $values.settings "AUTH_REQUIRE_CLIENT_PROOF") }}
- {name: AUTH_REQUIRE_CLIENT_PROOF, value: "true"}
{{- end }}
{{- end }}
{{- include "mailroom.commonVariables" . }}
{{- end }}
{{- range $variable, $value := $values.settings }}
{{- /* As a string: Helm prints a number of seven digits as 1e+06. */}}
- {name: {{ $variable }}, value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}}
{{- end }}
{{- end }}

{{/* One key of a Secret: others in it can be secrets of other processes. */}}
{{- define "mailroom.certificateVolume" -}}
secret: {secretName: {{ .name }}, defaultMode: 0440, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}

{{/* Volumes with their mounts: secret files, the database's CA, the certificate, the cache. */}}
{{- define "mailroom.volumes" -}}
{{- $files := fromJson (include "mailroom.secretFiles" .) -}}
{{- if $files }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $variable, $secret := $files }}
      - secret:
          name: {{ $secret.name }}
          items: [{key: {{ $secret.key }}, path: {{ $variable }}}]
      {{- end }}
{{- end }}
{{- if eq (include "mailroom.hasPostgresCa" .) "true" }}
- name: postgres
  {{- include "mailroom.certificateVolume" .root.Values.secrets.postgresCa | nindent 2 }}
{{- end }}
{{- if and (eq (include "mailroom.hasPeers" .) "true") .root.Values.secrets.redisCa.name }}
- name: redis
  {{- include "mailroom.certificateVolume" .root.Values.secrets.redisCa | nindent 2 }}
{{- end }}
{{- if eq (include "mailroom.hasProviders" .) "true" }}
- name: providers
  secret:
    secretName: {{ .root.Values.secrets.providers.name }}
    defaultMode: 0440
    {{- if ne .name "auth" }}
    {{- with .root.Values.secrets.providers.key }}
    items: [{key: {{ . }}, path: {{ . }}}]
    {{- end }}
    {{- end }}
{{- end }}
{{- if eq (include "mailroom.hasPeers" .) "true" }}
- name: identity
  secret: {secretName: {{ get .root.Values.tls.secrets (include "mailroom.service" .) }}, defaultMode: 0440}
{{- end }}
{{- if and (eq .name "mail") (not .migrations) }}
- name: cache
  emptyDir: {sizeLimit: {{ .root.Values.mail.cacheSize }}}
{{- end }}
{{- end }}

{{- define "mailroom.mounts" -}}
{{- if fromJson (include "mailroom.secretFiles" .) }}
- {name: secrets, mountPath: /run/secrets/mailroom, readOnly: true}
{{- end }}
{{- if eq (include "mailroom.hasPostgresCa" .) "true" }}
- {name: postgres, mountPath: /run/secrets/postgres, readOnly: true}
{{- end }}
{{- if and (eq (include "mailroom.hasPeers" .) "true") .root.Values.secrets.redisCa.name }}
- {name: redis, mountPath: /run/secrets/redis, readOnly: true}
{{- end }}
{{- if eq (include "mailroom.hasProviders" .) "true" }}
- {name: providers, mountPath: /run/secrets/providers, readOnly: true}
{{- end }}
{{- if eq (include "mailroom.hasPeers" .) "true" }}
- {name: identity, mountPath: /run/secrets/identity, readOnly: true}
{{- end }}
{{- if and (eq .name "mail") (not .migrations) }}
- {name: cache, mountPath: /tmp}
{{- end }}
{{- end }}

{{/* The restricted profile of the Pod Security Standards, without access to the cluster's API. */}}
{{- define "mailroom.podSecurity" -}}
serviceAccountName: {{ include "mailroom.fullname" .root }}{{ with .account }}-{{ . }}{{ end }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mailroom.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
