{{/* Egress rules of a NetworkPolicy; an empty list of peers allows all peers at that port. */}}

{{- define "mailroom.egressDns" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end }}

{{- define "mailroom.egressPostgres" -}}
- ports: [{protocol: TCP, port: {{ .Values.postgres.port }}}]
  {{- with .Values.networkPolicy.postgres }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mailroom.egressSignInRedis" -}}
{{- if .Values.redis.signIns.host }}
- ports: [{protocol: TCP, port: {{ .Values.redis.signIns.port }}}]
  {{- with .Values.networkPolicy.redis }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "mailroom.egressRedis" -}}
- ports: [{protocol: TCP, port: {{ .Values.redis.port }}}]
  {{- with .Values.networkPolicy.redis }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mailroom.publicPeers" -}}
- ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]}
- ipBlock: {cidr: 2000::/3}
{{- end }}

{{/* Addresses of providers change: allow HTTPS and IMAP to all addresses outside of private ranges. */}}
{{- define "mailroom.egressProvider" -}}
- ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 993}]
  to: {{- include "mailroom.publicPeers" . | nindent 4 }}
{{- end }}

{{/* URLs of webhooks: the ports that these may have, at all addresses outside of private ranges. Receivers inside need a
policy of yours. */}}
{{- define "mailroom.egressReceivers" -}}
- ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 1024, endPort: 65535}]
  to: {{- include "mailroom.publicPeers" . | nindent 4 }}
{{- end }}

{{- define "mailroom.egressCollector" -}}
{{- with .Values.networkPolicy.collector }}
- ports: [{protocol: TCP, port: 4317}]
  to: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
