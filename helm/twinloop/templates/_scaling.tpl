{{/* Up at once, down slowly: every change of the number of pods stops the whole group for a moment. */}}
{{- define "twinloop.scaling.behavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.scaling.scaleDownWindowSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ .Values.scaling.scaleDownPeriodSeconds }}}
scaleUp:
  stabilizationWindowSeconds: 30
  policies:
    - {type: Pods, value: 2, periodSeconds: 60}
{{- end -}}
