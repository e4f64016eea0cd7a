{{- define "dbt-account.name" -}}
{{- default .Release.Name .Values.account.name -}}
{{- end -}}

{{/* Every value is quoted: a release may be called y or 123, which are no strings to YAML. */}}
{{- define "dbt-account.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}
