{{- define "twinloop.triton.here" -}}
{{- if and .Values.triton.enabled (not .Values.triton.address) }}yes{{ end -}}
{{- end -}}

{{/* Where Triton's models lie: the claim of modelops, a bucket, or a folder that an init container fills. */}}
{{- define "twinloop.triton.repository" -}}
{{- if has .Values.triton.models.source (list "s3" "gcs") }}{{ .Values.triton.models.url }}{{ else }}/models{{ end -}}
{{- end -}}

{{- define "twinloop.triton.image" -}}
{{- $triton := .Values.triton -}}
{{- $image := $triton.image -}}
{{- if eq $triton.platform "gpu" -}}
{{- $image = merge (dict) $image (dict "registry" (default "nvcr.io" .Values.global.imageRegistry) "repository" "nvidia/tritonserver" "tag" "24.10-py3") -}}
{{- end -}}
{{ include "twinloop.container.image" (dict "root" . "image" $image "program" "triton-cpu") }}
{{- end -}}

{{/* The claim is modelops' own to write; Triton reads. */}}
{{- define "twinloop.triton.claims" -}}
{{- if or (eq .Values.triton.models.source "volume") .Values.modelops.enabled }}yes{{ end -}}
{{- end -}}
