{{/*
(root, name, command, annotations, kafka, env, mounts, volumes, image?): a job of the image `tools`. Without annotations
of a hook its name carries the revision, because a job's template never changes.
*/}}
{{- define "twinloop.job" -}}
{{- $root := .root -}}
{{- $kafka := dict "root" $root "program" (default "" .kafka) -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "twinloop.metadata" (dict "root" $root "name" .name "called" (.annotations | empty | ternary (printf "%s-%d" .name (int $root.Release.Revision)) .name) "annotations" .annotations) | nindent 2 }}
spec:
  backoffLimit: 4
  activeDeadlineSeconds: 600
  {{- if not .annotations }}
  ttlSecondsAfterFinished: 3600
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "twinloop.pod.labels" (dict "root" $root "name" .name) | nindent 8 }}
    spec:
      restartPolicy: Never  # the words of one that has failed can be read then
      {{- with .account }}
      serviceAccountName: {{ . }}
      {{- end }}
      {{- include "twinloop.pod.security" $root | nindent 6 }}
      {{- include "twinloop.pullSecrets" $root | nindent 6 }}
      {{- include "twinloop.placement" (dict "root" $root "name" .name "own" (dict)) | nindent 6 }}
      containers:
        - name: {{ .name }}
          {{- include "twinloop.container.image" (dict "root" $root "image" $root.Values.tools.image "program" "tools") | nindent 10 }}
          {{- include "twinloop.container.security" $root | nindent 10 }}
          command:
            {{- toYaml .command | nindent 12 }}
          env:
            - {name: TWINLOOP_LOG_FORMAT, value: {{ $root.Values.log.format }}}
            {{- if .kafka }}
            {{- include "twinloop.kafka.env" $kafka | nindent 12 }}
            {{- end }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with $root.Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          resources:
            {{- include "twinloop.resources" (dict "preset" "small" "resources" $root.Values.tools.resources) | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: data, mountPath: /data}
            {{- if .kafka }}
            {{- include "twinloop.kafka.mount" $kafka | nindent 12 }}
            {{- end }}
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 512Mi}
        - name: data
          emptyDir: {sizeLimit: 512Mi}
        {{- if .kafka }}
        {{- include "twinloop.kafka.volume" $kafka | nindent 8 }}
        {{- end }}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* (root, name): the account of such a job. By its token Kafka may know the job; it comes and goes with it. */}}
{{- define "twinloop.job.account" -}}
{{- $hook := include "twinloop.hook" (dict "root" .root "weight" "-7") | fromYaml -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "twinloop.metadata" (dict "root" .root "name" .name "annotations" (merge (omit $hook "helm.sh/hook-output-log-policy") .root.Values.serviceAccount.annotations)) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{/* Hook before an install or upgrade; weight. Where Kafka itself comes with this release there is none yet to ask. */}}
{{- define "twinloop.hook" -}}
{{- if not (or .root.Values.kafka.trial.enabled (and .root.Values.kafka.strimzi.enabled .root.Values.kafka.strimzi.createCluster)) -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end -}}
{{- end -}}

{{/* A token for the API server that lives ten minutes, for the job that makes keys and for no other pod. */}}
{{- define "twinloop.keys.token" -}}
- name: api
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end -}}
