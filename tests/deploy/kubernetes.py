#!/usr/bin/env python3
"""What schemas do not see in the manifests of deploy/kubernetes: kubernetes.py FILE, with what `kubectl kustomize` made.

Pods fit the restricted profile, what is mounted exists, a stop takes no longer than the pod is given, nobody but the gate
reaches the registry.
"""

import re
import sys

import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)


def of(kind):
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def pods():
    for kind in ("Deployment", "StatefulSet"):
        for name, document in of(kind).items():
            yield name, document["spec"]


def check_restricted(name, pod):
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] and security["runAsUser"] > 0, f"{name}: runs as root")
    expect(security["seccompProfile"]["type"] == "RuntimeDefault", f"{name}: seccomp")
    expect(pod["automountServiceAccountToken"] is False, f"{name}: has a token of the cluster")
    for container in pod["containers"]:
        own = container["securityContext"]
        expect(own["allowPrivilegeEscalation"] is False, f"{name}: privilege escalation")
        expect(own["readOnlyRootFilesystem"] is True, f"{name}: its root can be written to")
        expect(own["capabilities"] == {"drop": ["ALL"]}, f"{name}: capabilities")
        expect(":" in container["image"], f"{name}: image {container['image']} has no version")
        expect("limits" in container["resources"], f"{name}: no limit of memory")
        for mount in container["volumeMounts"]:
            expect("subPath" not in mount, f"{name}: {mount['name']} is mounted by subPath")


def check_volumes(name, pod, claims):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    expect(mounted == set(volumes) | claims, f"{name}: mounted {mounted}, declared {set(volumes) | claims}")
    for volume in volumes.values():
        if "configMap" in volume:
            expect(volume["configMap"]["name"] in of("ConfigMap"), f"{name}: no such ConfigMap: {volume}")
        # The base leaves secrets to the operator.
        if "secret" in volume and of("Secret"):
            expect(volume["secret"]["secretName"] in of("Secret"), f"{name}: no such Secret: {volume}")


def check_gate(gate, config):
    pod = gate["template"]["spec"]
    expect(gate["replicas"] >= 2, "one replica only")
    expect(gate["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a rollout takes a pod away before another serves")
    stop = sum(seconds(config["shutdown"].get(key, "0s")) for key in ("delay", "drain"))
    expect(pod["terminationGracePeriodSeconds"] > stop, f"a pod is killed before {stop} s are over")
    container = pod["containers"][0]
    ports = {port["containerPort"] for port in container["ports"]}
    sockets = [*config["listen"]["https"], *config["listen"]["http"], config["listen"]["admin"]]
    expect(ports == {int(socket.rsplit(":", 1)[1]) for socket in sockets}, f"ports {ports}, listens on {sockets}")
    files = [config["identity"]["providers"][0]["htpasswd"]["file"], *config["tokens"]["keys"]]
    files += [entry[key] for entry in config["tls"].get("certificates", []) for key in ("certificate_file", "key_file")]
    files += [acme["storage"] for acme in [config["tls"].get("acme")] if acme]
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name in files:
        expect(name.rsplit("/", 1)[0] in folders, f"{name} is in no mount")
    upstream = config["registries"][0]["upstream"]["servers"][0]["url"]
    host, port = re.fullmatch(r"http://([^:]+):(\d+)", upstream).groups()
    service = of("Service")[host]["spec"]
    expect(service["ports"][0]["port"] == int(port), f"{upstream}: the Service has another port")


def check_issued(gate):
    service = of("Service")["portcullis"]["spec"]
    expect(service.get("publishNotReadyAddresses") is True, "no authority reaches a pod that has no certificate yet")
    ports = [port["port"] for rule in of("NetworkPolicy")["portcullis"]["spec"]["egress"] for port in rule["ports"]]
    expect(443 in ports, "no pod reaches the authority")
    claims = [volume["persistentVolumeClaim"] for volume in gate["template"]["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    modes = [of("PersistentVolumeClaim")[claim["claimName"]]["spec"]["accessModes"] for claim in claims]
    expect(modes == [["ReadWriteMany"]], f"replicas share no folder: {modes}")


def check_network(gate, registry):
    policies = [policy["spec"] for policy in of("NetworkPolicy").values()]
    mine = [policy for policy in policies if policy["podSelector"]["matchLabels"] == registry["selector"]["matchLabels"]]
    expect(len(mine) == 1, "the registry needs one NetworkPolicy")
    for policy in mine:
        sources = [source for rule in policy["ingress"] for source in rule["from"]]
        expect(sources == [{"podSelector": gate["selector"]}], f"the registry is open to {sources}")
        expect(set(policy["policyTypes"]) == {"Ingress", "Egress"}, "the registry's policy leaves a direction open")


specs = dict(pods())
for pod_name, spec in specs.items():
    claimed = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    check_restricted(pod_name, spec["template"]["spec"])
    check_volumes(pod_name, spec["template"]["spec"], claimed)
configuration = yaml.safe_load(of("ConfigMap")["portcullis-config"]["data"]["portcullis.yml"])
check_gate(specs["portcullis"], configuration)
if "acme" in configuration["tls"]:
    check_issued(specs["portcullis"])
check_network(specs["portcullis"], specs["portcullis-registry"])
for budget in of("PodDisruptionBudget").values():
    expect(budget["spec"]["selector"] == specs["portcullis"]["selector"], "the PodDisruptionBudget selects other pods")

for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
