{{- define "gtm.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* With the longest ending, -metrics-service, 63 characters. */ -}}
{{- define "gtm.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{ regexReplaceAll "[-.]+$" (trunc 47 $full) "" }}
{{- end }}

{{- /* What the Services' names begin with: they have no dots and begin with a letter, unlike a release's. */ -}}
{{- define "gtm.serviceName" -}}
{{- $name := include "gtm.fullname" . | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "gtm-%s" $name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{ $name }}
{{- end }}

{{- define "gtm.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end }}

{{- define "gtm.account" -}}
{{ .Values.rbac.serviceAccount.name | default (include "gtm.fullname" .) }}
{{- end }}

{{- /* What the former chart's README has at serviceAccount, and what is at rbac.serviceAccount; templates in them are filled in, as there. */ -}}
{{- define "gtm.accountAnnotations" -}}
{{- $annotations := deepCopy ((.Values.serviceAccount).annotations | default dict) -}}
{{- tpl (mergeOverwrite $annotations (.Values.rbac.serviceAccount.annotations | default dict) | toYaml) . }}
{{- end }}

{{- define "gtm.selector" -}}
app.kubernetes.io/name: {{ include "gtm.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* All pods of a release: the operator's, and that of the Job before an uninstallation. */ -}}
{{- define "gtm.pods" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: github-token-manager
{{- end }}

{{- define "gtm.labels" -}}
{{ include "gtm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: github-token-manager
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The metadata of an object: (list $ NAME LABELS ANNOTATIONS), with the operator's namespace. What is a number to YAML is quoted. */ -}}
{{- define "gtm.metadata" -}}
{{- $root := index . 0 -}}
{{ dict "name" (index . 1) "namespace" (include "gtm.namespace" $root) | toYaml }}
{{ include "gtm.marks" (list $root (index . 2) (index . 3)) }}
{{- end }}

{{- define "gtm.marks" -}}
{{- $root := index . 0 -}}
labels:
  {{- mergeOverwrite (include "gtm.labels" $root | fromYaml) (index . 1 | default dict) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy ($root.Values.commonAnnotations | default dict)) (index . 2 | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "gtm.clusterMetadata" -}}
{{ dict "name" (index . 1) | toYaml }}
{{ include "gtm.marks" (list (index . 0) (index . 2) (index . 3)) }}
{{- end }}

{{- /* Whether a startup configuration is to be written. */ -}}
{{- define "gtm.configured" -}}
{{- if and (not .Values.configSecret) (or (.Values.config).app_id (.Values.config).client_id) }}yes{{ end }}
{{- end }}

{{- define "gtm.webhookSecret" -}}
{{- if .Values.webhook.certManager.enabled -}}
{{ include "gtm.fullname" . }}-webhook-tls
{{- else -}}
{{ .Values.webhook.certSecret }}
{{- end }}
{{- end }}

{{- /* Where the image runs, for the operator and for the Job before an uninstallation. */ -}}
{{- define "gtm.nodeSelector" -}}
{{- mergeOverwrite (dict "kubernetes.io/os" "linux") (.Values.deployment.nodeSelector | default dict) | toYaml }}
{{- end }}

{{- define "gtm.image" -}}
{{- with .Values.deployment.containers.githubTokenManager.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
