{{/* Mistakes across fields, which a schema cannot tell. Every sentence says what to do. */}}
{{- define "twinloop.validate" -}}
{{- $v := .Values -}}
{{- $components := include "twinloop.components" . | fromYaml -}}
{{- $wrong := list -}}

{{- /* Labels that selectors, and Helm, live by. */}}
{{- range $key := keys $v.commonLabels | sortAlpha -}}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" "app.kubernetes.io/version" "helm.sh/chart") -}}
{{- $wrong = append $wrong (printf "commonLabels sets %s, which the chart sets itself and finds its pods by: use a label of yours." $key) -}}
{{- end -}}
{{- end -}}

{{- /* Kafka: exactly one. */}}
{{- $kafka := $v.kafka -}}
{{- $ways := list -}}
{{- if $kafka.bootstrapServers }}{{ $ways = append $ways "kafka.bootstrapServers" }}{{ end -}}
{{- if $kafka.trial.enabled }}{{ $ways = append $ways "kafka.trial.enabled" }}{{ end -}}
{{- if and $kafka.strimzi.enabled $kafka.strimzi.createCluster }}{{ $ways = append $ways "kafka.strimzi.createCluster" }}{{ end -}}
{{- if not $ways -}}
{{- $wrong = append $wrong "There is no Kafka: name yours in kafka.bootstrapServers, or set kafka.strimzi.enabled and kafka.strimzi.createCluster, or kafka.trial.enabled for a trial." -}}
{{- else if gt (len $ways) 1 -}}
{{- $wrong = append $wrong (printf "There are two Kafkas: %s. Keep one of them." (join " and " $ways)) -}}
{{- end -}}
{{- if and $kafka.strimzi.createCluster (not $kafka.strimzi.enabled) -}}
{{- $wrong = append $wrong "kafka.strimzi.createCluster needs kafka.strimzi.enabled." -}}
{{- end -}}
{{- if and $kafka.strimzi.enabled $kafka.trial.enabled -}}
{{- $wrong = append $wrong "kafka.strimzi and kafka.trial are both enabled: Strimzi's users would be for a broker that asks nobody. Disable one." -}}
{{- end -}}
{{- if and $kafka.strimzi.enabled $kafka.acls.enabled -}}
{{- $wrong = append $wrong "kafka.acls.enabled and kafka.strimzi.enabled: Strimzi sets the ACLs from KafkaUser objects. Disable kafka.acls." -}}
{{- end -}}
{{- $access := include "twinloop.kafka.access" . | fromYaml -}}
{{- if $kafka.trial.enabled -}}
{{- if ne $kafka.security "PLAINTEXT" -}}
{{- $wrong = append $wrong (printf "kafka.trial speaks PLAINTEXT, but kafka.security is %s: use a Kafka of yours (kafka.bootstrapServers), or set kafka.security to PLAINTEXT." $kafka.security) -}}
{{- end -}}
{{- else -}}
{{- if hasPrefix "SASL" $access.security -}}
{{- if and (eq $access.security "SASL_PLAINTEXT") (has (toString $access.sasl.mechanism) (list "PLAIN" "OAUTHBEARER")) -}}
{{- $wrong = append $wrong (printf "kafka.sasl.mechanism is %s, which would go over the network in clear: set kafka.security to SASL_SSL." $access.sasl.mechanism) -}}
{{- end -}}
{{- if not $access.sasl.mechanism -}}
{{- $wrong = append $wrong (printf "kafka.security is %s, so kafka.sasl.mechanism must say how: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER." $access.security) -}}
{{- else if eq $access.sasl.mechanism "OAUTHBEARER" -}}
{{- $oauth := $access.sasl.oauth -}}
{{- if and $oauth.tokenUrl $oauth.serviceAccountAudience -}}
{{- $wrong = append $wrong "kafka.sasl.oauth.tokenUrl and kafka.sasl.oauth.serviceAccountAudience are two sources of tokens: keep one." -}}
{{- else if not (or $oauth.tokenUrl $oauth.serviceAccountAudience) -}}
{{- $wrong = append $wrong "OAUTHBEARER needs tokens: set kafka.sasl.oauth.tokenUrl and kafka.sasl.existingSecret, or kafka.sasl.oauth.serviceAccountAudience." -}}
{{- else if and $oauth.tokenUrl (not $access.sasl.existingSecret) -}}
{{- $wrong = append $wrong "kafka.sasl.oauth.tokenUrl is given without client secrets: name their Secret in kafka.sasl.existingSecret." -}}
{{- end -}}
{{- else if not $access.sasl.existingSecret -}}
{{- $wrong = append $wrong (printf "kafka.security is %s without passwords: make a Secret with one for each program and name it in kafka.sasl.existingSecret." $access.security) -}}
{{- end -}}
{{- else if $access.sasl.mechanism -}}
{{- $wrong = append $wrong (printf "kafka.sasl.mechanism is %s, but kafka.security is %s: set that to SASL_SSL, or empty the mechanism." $access.sasl.mechanism $access.security) -}}
{{- end -}}
{{- if and (not (hasSuffix "SSL" $access.security)) (or $access.tls.caSecret $access.tls.clientSecret) -}}
{{- $wrong = append $wrong (printf "kafka.tls names certificates, but kafka.security is %s: set that to SSL or SASL_SSL, or empty kafka.tls." $access.security) -}}
{{- end -}}
{{- end -}}
{{- range $word := splitList "." $v.topicPrefix -}}
{{- if or (hasPrefix "controller-" $word) (hasPrefix "detector-" $word) -}}
{{- $wrong = append $wrong (printf "topicPrefix is %s, but topics and groups that begin with controller- or detector- are those of the programs of the site around it: choose another name." $v.topicPrefix) -}}
{{- end -}}
{{- end -}}
{{- if and $kafka.acls.enabled (not $kafka.strimzi.enabled) -}}
{{- if eq $access.security "PLAINTEXT" -}}
{{- $wrong = append $wrong "kafka.acls.enabled, but kafka.security is PLAINTEXT: Kafka would not know whom it speaks to. Set kafka.security, or disable kafka.acls." -}}
{{- else if and (hasPrefix "SASL" $access.security) (ne $access.sasl.mechanism "OAUTHBEARER") (ne $access.sasl.user "{prefix}{program}") -}}
{{- $wrong = append $wrong (printf "kafka.acls.enabled makes ACLs for users called {prefix}{program}, but kafka.sasl.user is %s: leave it so, or make the ACLs yourself (python -m twinloop.runtime.kafka.acls prints them)." $access.sasl.user) -}}
{{- end -}}
{{- end -}}
{{- if and $kafka.strimzi.enabled $kafka.strimzi.createCluster (gt (int $kafka.replication) (int $kafka.strimzi.replicas)) -}}
{{- $wrong = append $wrong (printf "kafka.replication is %d, but kafka.strimzi.replicas are only %d brokers: add brokers, or lower it." (int $kafka.replication) (int $kafka.strimzi.replicas)) -}}
{{- end -}}
{{- if and $kafka.strimzi.enabled $kafka.strimzi.createCluster (ge (int $kafka.strimzi.minInSyncReplicas) (int $kafka.replication)) (gt (int $kafka.replication) 1) -}}
{{- $wrong = append $wrong "kafka.strimzi.minInSyncReplicas must be less than kafka.replication: else one broker that restarts stops every writer." -}}
{{- end -}}

{{- /* MQTT */}}
{{- if or $v.ingest.enabled $v.simulator.enabled -}}
{{- if and $v.mqtt.address $v.mqtt.trial.enabled -}}
{{- $wrong = append $wrong "There are two MQTT brokers: mqtt.address and mqtt.trial.enabled. Keep one of them." -}}
{{- else if not (or $v.mqtt.address $v.mqtt.trial.enabled) -}}
{{- $wrong = append $wrong "There is no MQTT broker: name yours in mqtt.address, or set mqtt.trial.enabled for a trial." -}}
{{- end -}}
{{- if and $v.mqtt.user (not $v.mqtt.existingSecret) -}}
{{- $wrong = append $wrong "mqtt.user is given without a password: name its Secret in mqtt.existingSecret." -}}
{{- end -}}
{{- if and (or $v.mqtt.user $v.mqtt.tls.clientSecret) (not $v.mqtt.tls.caSecret) -}}
{{- $wrong = append $wrong "mqtt.user and mqtt.tls.clientSecret need TLS: name the authority of the broker's certificate in mqtt.tls.caSecret." -}}
{{- end -}}
{{- if and $v.mqtt.trial.enabled (or $v.mqtt.user $v.mqtt.tls.caSecret) -}}
{{- $wrong = append $wrong "mqtt.trial asks nobody who he is and speaks no TLS: empty mqtt.user and mqtt.tls." -}}
{{- end -}}
{{- end -}}

{{- /* Numbers of pods */}}
{{- $scaled := ne $v.scaling.mode "none" -}}
{{- $declared := dict -}}
{{- range .Files.Get "files/topics.json" | fromJsonArray }}{{ $_ := set $declared .name (int .partitions) }}{{ end -}}
{{- range $key, $topics := dict "detector" $v.detector.topics "detectorVehicles" $v.detectorVehicles.topics "controller" "changes" "twin" "changes" "historian" "telemetry.factory" -}}
{{- $own := get $v $key -}}
{{- $detects := hasPrefix "detector" $key -}}
{{- if $own.enabled -}}
{{- $most := 0 -}}
{{- $all := 0 -}}
{{- range splitList "," $topics -}}
{{- $most = max $most (get $declared (trim .)) | int -}}
{{- $all = add $all (get $declared (trim .)) | int -}}
{{- end -}}
{{- $value := and $scaled $detects | ternary "maxReplicas" "replicas" -}}
{{- if gt (int (get $own $value)) $most -}}
{{- $wrong = append $wrong (printf "%s.%s is %d, but the topic has %d partitions: more pods than partitions have nothing to do. Lower it." $key $value (int (get $own $value)) $most) -}}
{{- end -}}
{{- if and $scaled $detects (gt (int $own.minReplicas) (int $own.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "%s.minReplicas is more than %s.maxReplicas." $key $key) -}}
{{- end -}}
{{- if and $detects (eq $v.scaling.mode "keda") (le (int $v.scaling.keda.activationLagThreshold) $all) -}}
{{- $wrong = append $wrong (printf "scaling.keda.activationLagThreshold is %d, but must exceed the %d partitions of %s: each ends in a marker of its last transaction, which counts as lag for ever." (int $v.scaling.keda.activationLagThreshold) $all $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.detector.enabled $v.detectorVehicles.enabled -}}
{{- range $topic := splitList "," $v.detector.topics -}}
{{- if has (trim $topic) (splitList "," $v.detectorVehicles.topics) -}}
{{- $wrong = append $wrong (printf "detector.topics and detectorVehicles.topics both have %s: every verdict would come twice. Take it out of one, or disable detectorVehicles." (trim $topic)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.scaling.mode "keda") (eq (toString $access.sasl.mechanism) "OAUTHBEARER") $access.sasl.oauth.serviceAccountAudience -}}
{{- $wrong = append $wrong "scaling.mode is keda, but KEDA cannot show a service account's token to Kafka: use scaling.mode hpa, or kafka.sasl.oauth.tokenUrl." -}}
{{- end -}}
{{- if and $v.historian.enabled (gt (int $v.historian.replicas) 1) (not (has "ReadWriteMany" $v.storage.parquet.accessModes)) -}}
{{- $wrong = append $wrong "historian.replicas is more than 1, but storage.parquet is no volume for several nodes: set storage.parquet.accessModes to [ReadWriteMany], or historian.replicas to 1." -}}
{{- end -}}
{{- range $key, $what := $components -}}
{{- $own := get $v $key -}}
{{- if and $own.enabled $what.alone (gt (int $own.replicas) 1) -}}
{{- $wrong = append $wrong (printf "%s.replicas must be 1: two of it would be in each other's way (values.yaml says why)." $key) -}}
{{- end -}}
{{- end -}}

{{- /* Triton */}}
{{- $needs := or $v.detector.enabled $v.detectorVehicles.enabled $v.modelops.enabled -}}
{{- if and $needs (not (or $v.triton.enabled $v.triton.address)) -}}
{{- $wrong = append $wrong "There is no Triton: set triton.enabled, or name yours in triton.address." -}}
{{- end -}}
{{- if include "twinloop.triton.here" . -}}
{{- if and (include "twinloop.triton.many" .) $v.modelops.enabled -}}
{{- $wrong = append $wrong "Triton has several pods, but modelops tells one of them what to load: the others would not know a new model. Set triton.replicas to 1 and triton.scaling.mode to none, or modelops.enabled to false." -}}
{{- end -}}
{{- if and (has $v.triton.models.source (list "s3" "gcs")) $v.modelops.enabled -}}
{{- $wrong = append $wrong (printf "triton.models.source is %s, but modelops writes to a folder: set it to volume, image or sync, or modelops.enabled to false." $v.triton.models.source) -}}
{{- end -}}
{{- if and (has $v.triton.models.source (list "s3" "gcs")) (not (hasPrefix (eq $v.triton.models.source "s3" | ternary "s3://" "gs://") $v.triton.models.url)) -}}
{{- $wrong = append $wrong (printf "triton.models.source is %s: triton.models.url must begin with %s." $v.triton.models.source (eq $v.triton.models.source "s3" | ternary "s3://" "gs://")) -}}
{{- end -}}
{{- if and (has $v.triton.models.source (list "image" "sync")) (not $v.triton.models.image.repository) -}}
{{- $wrong = append $wrong (printf "triton.models.source is %s: name the image in triton.models.image.repository." $v.triton.models.source) -}}
{{- end -}}
{{- if and (eq $v.triton.models.source "sync") (not $v.triton.models.command) -}}
{{- $wrong = append $wrong "triton.models.source is sync: say in triton.models.command how /models is filled." -}}
{{- end -}}
{{- if and (eq $v.triton.scaling.mode "keda") (not $v.triton.scaling.prometheus) -}}
{{- $wrong = append $wrong "triton.scaling.mode is keda: name the Prometheus that KEDA asks in triton.scaling.prometheus." -}}
{{- end -}}
{{- if and (eq $v.triton.platform "gpu") (lt (int $v.triton.gpus) 1) -}}
{{- $wrong = append $wrong "triton.platform is gpu: triton.gpus must be 1 or more." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.triton.platform "gpu") $v.modelops.enabled (lt (float64 $v.modelops.loadTimeoutSeconds) 300.0) -}}
{{- $wrong = append $wrong (printf "triton.platform is gpu, and modelops.loadTimeoutSeconds is %v: a load builds engines, which takes minutes. Set it to 900, and triton.loadSeconds to as much for each model." $v.modelops.loadTimeoutSeconds) -}}
{{- end -}}

{{- /* Volumes that pods share */}}
{{- if not $v.storage.colocate -}}
{{- $shared := list -}}
{{- if and (include "twinloop.triton.claims" .) (or $v.modelops.enabled (include "twinloop.triton.many" .)) (include "twinloop.triton.here" .) (not $v.storage.models.existingClaim) (not (has "ReadWriteMany" $v.storage.models.accessModes)) }}{{ $shared = append $shared "storage.models" }}{{ end -}}
{{- if and $v.simulator.enabled $v.test.enabled $v.twin.enabled (not $v.storage.processes.existingClaim) (not (has "ReadWriteMany" $v.storage.processes.accessModes)) }}{{ $shared = append $shared "storage.processes" }}{{ end -}}
{{- with $shared -}}
{{- $wrong = append $wrong (printf "%s is shared by pods of several nodes: set accessModes to [ReadWriteMany], or storage.colocate to true, which keeps them on one node." (join " and " .)) -}}
{{- end -}}
{{- end -}}

{{- /* The plant */}}
{{- if not $v.plant.existingConfigMap -}}
{{- range $key := list "controller" "twin" "line" "simulator" -}}
{{- if and (get $v $key).enabled (not (include "twinloop.plant.has" (dict "root" $ "name" $key))) -}}
{{- $wrong = append $wrong (printf "%s is enabled without its file: write plant.config.%s, name a ConfigMap in plant.existingConfigMap, or set plant.reference for a trial." $key $key) -}}
{{- end -}}
{{- end -}}
{{- $controller := include "twinloop.plant.file" (dict "root" $ "name" "controller") -}}
{{- if and $v.controller.enabled (regexMatch "(?m)^\\s*highest_mode\\s*=\\s*\"auto\"" $controller) (not $v.twin.enabled) -}}
{{- $wrong = append $wrong "controller.toml allows AUTO at an asset, but there is no approver: in AUTO the twin releases changes. Set twin.enabled, or lower highest_mode." -}}
{{- end -}}
{{- if and $v.line.enabled (regexMatch "(?m)^\\s*highest_mode\\s*=\\s*\"auto\"" (include "twinloop.plant.file" (dict "root" $ "name" "line"))) (not $v.line.approvers.keys) -}}
{{- $wrong = append $wrong "line.toml allows AUTO at an asset, but line.approvers.keys is empty: nobody's release would be believed. Name the twin's public key." -}}
{{- end -}}
{{- else if or $v.plant.reference (compact (values $v.plant.config)) -}}
{{- $wrong = append $wrong "plant.existingConfigMap is given, so plant.config and plant.reference would not be used: empty them." -}}
{{- end -}}
{{- if and $v.line.enabled (not $v.line.opcua.endpoint) (not $v.simulator.enabled) -}}
{{- $wrong = append $wrong "line has no PLC: name its endpoint in line.opcua.endpoint, or set simulator.enabled for a trial." -}}
{{- end -}}
{{- if and $v.simulator.enabled $v.line.opcua.endpoint -}}
{{- $wrong = append $wrong "simulator.enabled with line.opcua.endpoint: the test would drift a simulated plant while line commands the real one. Keep one of them." -}}
{{- end -}}
{{- if and $v.simulator.enabled (ne $v.simulator.opcua.security $v.line.opcua.security) $v.line.enabled -}}
{{- $wrong = append $wrong "simulator.opcua.security and line.opcua.security differ: no session would come about." -}}
{{- end -}}

{{- /* People */}}
{{- $oidc := $v.access.oidc -}}
{{- $people := or $v.modelops.enabled $v.controller.enabled $v.twin.enabled $v.line.enabled -}}
{{- if and $people (not (or $v.access.people.key $oidc.issuer)) -}}
{{- $wrong = append $wrong "Nobody could use the APIs: set access.people.key, access.oidc.issuer, or both." -}}
{{- end -}}
{{- if or $people $v.ingest.enabled -}}
{{- if and $oidc.issuer (not $oidc.audience) -}}
{{- $wrong = append $wrong "access.oidc.issuer needs access.oidc.audience: a token for somebody else must not open this." -}}
{{- end -}}
{{- if and $oidc.issuer (not (or $oidc.jwksUrl $oidc.jwksConfigMap)) -}}
{{- $wrong = append $wrong "access.oidc.issuer needs its public keys: set access.oidc.jwksUrl or access.oidc.jwksConfigMap." -}}
{{- end -}}
{{- end -}}
{{- if and $v.secrets.generate $v.secrets.existingSecret -}}
{{- $wrong = append $wrong "secrets.generate and secrets.existingSecret: what you made yourself is not made again. Keep one of them." -}}
{{- end -}}

{{- /* Settings that belong to the chart */}}
{{- range $key, $what := $components -}}
{{- $own := get $v $key -}}
{{- $ours := list -}}
{{- if $own.enabled -}}
{{- range include "twinloop.workload.env" (dict "root" $ "key" $key "own" $own "program" $what.program "name" (kebabcase $key)) | fromYamlArray }}{{ $ours = append $ours .name }}{{ end -}}
{{- end -}}
{{- range $variable, $_ := $own.settings -}}
{{- if regexMatch "PASSWORD|SECRET|PSEUDONYM_KEY$|TOKEN$" $variable -}}
{{- $wrong = append $wrong (printf "%s.settings.%s is a secret: put it into a Secret and name that where this chart asks for it." $key $variable) -}}
{{- else if or (has $variable $ours) (regexMatch "^TWINLOOP_(KAFKA|MQTT|ACCESS|HEALTH|OPCUA$|TRITON$|GRACE_S|TOPIC|LOG)|_(GROUP|TOPICS|AUDIT|AUDIT_CHAIN|CHAIN|ASSETS|FOLDER)$" $variable) -}}
{{- $wrong = append $wrong (printf "%s.settings.%s is set by this chart: use the value that it is made of." $key $variable) -}}
{{- end -}}
{{- end -}}
{{- range concat $v.extraEnv $own.extraEnv -}}
{{- if has .name (concat $ours (keys $own.settings)) -}}
{{- $wrong = append $wrong (printf "%s has %s twice: extraEnv names it, and this chart sets it. Use the value or setting that it is made of." $key .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.traces.endpoint (eq (include "twinloop.url.port" $v.traces.endpoint) "4317") -}}
{{- $wrong = append $wrong "traces.endpoint names port 4317, where collectors speak gRPC: services export OTLP over HTTP. Name that port, usually 4318." -}}
{{- end -}}
{{- range $at, $program := dict "kafka.topics.program" $kafka.topics.program "kafka.acls.program" $kafka.acls.program -}}
{{- if has $program (list "ingest" "detector" "modelops" "controller" "twin" "line" "historian") -}}
{{- $wrong = append $wrong (printf "%s is %s, which is a service: that job may make topics or ACLs, and services must not." $at $program) -}}
{{- end -}}
{{- end -}}

{{- with $wrong -}}
{{- fail (printf "\n\nThese values must be mended:\n- %s\n" (join "\n- " .)) -}}
{{- end -}}
{{- end -}}
