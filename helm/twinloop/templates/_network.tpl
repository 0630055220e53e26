{{/* Ports of the bootstrap servers, each once, as JSON. */}}
{{- define "twinloop.kafka.ports" -}}
{{- $ports := list -}}
{{- range splitList "," (include "twinloop.kafka.bootstrap" .) -}}
{{- $ports = append $ports (splitList ":" (trim .) | last | int) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "twinloop.url.port" -}}
{{- $url := urlParse . -}}
{{- if contains ":" $url.host }}{{ splitList ":" $url.host | last }}{{ else if eq $url.scheme "https" }}443{{ else }}80{{ end -}}
{{- end -}}
