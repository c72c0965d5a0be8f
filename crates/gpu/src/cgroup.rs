/// The pod, and the container where it can be told, that a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodCgroup {
    /// UID of the pod, with dashes. Of a static pod it is the hash of its manifest, which the API
    /// server shows as the annotation `kubernetes.io/config.hash` and not as the UID.
    pub pod_uid: String,
    /// Id that the container runtime gave the container: 64 hexadecimal digits.
    pub container_id: Option<String>,
}

/// Most bytes of a cgroup file that are looked at: a real one has some hundred.
const LONGEST: usize = 64 * 1024;

/// The pod of a process, by the text of its `/proc/<pid>/cgroup`; `None` where it is in none.
///
/// Reads cgroup v1 and v2, and the names that the kubelet gives with the systemd driver
/// (`kubepods-burstable-pod<uid with underscores>.slice`) and with the cgroupfs driver
/// (`/kubepods/burstable/pod<uid>`); of nested pods (a cluster within a container) the innermost.
#[must_use]
pub fn pod_uid_of_cgroup(text: &str) -> Option<PodCgroup> {
    let end = (0..=LONGEST.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))?;
    text[..end].lines().filter_map(pod_of_line).next()
}

fn pod_of_line(line: &str) -> Option<PodCgroup> {
    // `hierarchy:controllers:path`; the path can have colons of its own.
    let path = line.splitn(3, ':').nth(2)?;
    let mut found: Option<PodCgroup> = None;
    for segment in path.split(['/', ':']) {
        if let Some(pod_uid) = pod_of_segment(segment) {
            found = Some(PodCgroup {
                pod_uid,
                container_id: None,
            });
        } else if let Some(found) = &mut found
            && found.container_id.is_none()
        {
            found.container_id = container_of_segment(segment);
        }
    }
    found
}

/// The UID in `pod<uid>` or `…-pod<uid>.slice`.
fn pod_of_segment(segment: &str) -> Option<String> {
    let name = segment.strip_suffix(".slice").unwrap_or(segment);
    let start = name.rfind("pod")?;
    if !(start == 0 || name[..start].ends_with('-')) {
        return None;
    }
    let uid: String = name[start + 3..]
        .chars()
        .map(|letter| if letter == '_' { '-' } else { letter })
        .collect();
    let hexadecimal = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&byte| byte == b'-').count();
    // A UUID, or the 32 digits that the kubelet makes for a static pod.
    (hexadecimal == 32 && (dashes == 0 || dashes == 4) && uid.len() == hexadecimal + dashes).then_some(uid)
}

/// The id in `<id>`, `cri-containerd-<id>.scope`, `crio-<id>.scope` or `docker-<id>.scope`.
fn container_of_segment(segment: &str) -> Option<String> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let id = name.rsplit('-').next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "3f2b6c1e-8f0a-4c55-9a38-0d9f6f1c2b7e";
    const CONTAINER: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn found(text: &str) -> (String, Option<String>) {
        let pod = pod_uid_of_cgroup(text).unwrap();
        (pod.pod_uid, pod.container_id)
    }

    #[test]
    fn every_driver_version_and_runtime_is_read() {
        let underscored = UID.replace('-', "_");
        let both = (UID.to_owned(), Some(CONTAINER.to_owned()));
        for text in [
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/cri-containerd-{CONTAINER}.scope\n"
            ),
            format!("0::/kubepods.slice/kubepods-pod{underscored}.slice/crio-{CONTAINER}.scope/container\n"),
            format!("0::/kubepods/besteffort/pod{UID}/{CONTAINER}\n"),
            format!("0::/../../kubepods-besteffort-pod{underscored}.slice/docker-{CONTAINER}.scope\n"),
            format!(
                "12:pids:/kubepods/burstable/pod{UID}/{CONTAINER}\n11:cpu,cpuacct:/kubepods/burstable/pod{UID}/{CONTAINER}\n"
            ),
            format!(
                "4:memory:/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{CONTAINER}\n"
            ),
            format!("2:cpuset:/\n1:name=systemd:/kubepods/pod{UID}/{CONTAINER}\n0::/\n"),
        ] {
            assert_eq!(found(&text), both, "{text}");
        }
    }

    #[test]
    fn the_innermost_pod_counts() {
        let outer = "11111111-2222-3333-4444-555555555555";
        let text = format!(
            "0::/kubepods/pod{outer}/{CONTAINER}/kubelet/kubepods/pod{UID}/{}\n",
            "a".repeat(64)
        );
        assert_eq!(found(&text), (UID.to_owned(), Some("a".repeat(64))));
    }

    #[test]
    fn a_static_pod_has_a_hash_for_uid() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            found(&format!("0::/kubepods/pod{hash}/x\n")),
            (hash.to_owned(), None)
        );
    }

    #[test]
    fn what_is_in_no_pod_has_none() {
        for text in [
            "",
            "0::/",
            "0::/user.slice/user-0.slice/session-1.scope",
            "0::/system.slice/podman.service",
            "0::/kubepods/pod/x",
            "0::/kubepods/podcast-0123/x",
            "garbage",
        ] {
            assert_eq!(pod_uid_of_cgroup(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = pod_uid_of_cgroup(&text);
        }

        #[test]
        fn near_misses_are_read_without_panic(text in "(0::|1:cpu:)?[/:.a-f0-9_-]{0,80}(pod)?[a-fé0-9_-]{0,40}(\\.slice)?(/[a-f0-9-]{60,66}(\\.scope)?)?\n") {
            if let Some(pod) = pod_uid_of_cgroup(&text) {
                prop_assert!(pod.pod_uid.len() == 32 || pod.pod_uid.len() == 36);
            }
        }
    }

    #[test]
    fn a_huge_text_is_cut_at_a_character() {
        let text = "é".repeat(LONGEST);
        assert_eq!(pod_uid_of_cgroup(&text), None);
    }
}
