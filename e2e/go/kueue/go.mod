// Kueue: only the manifests of its custom resources are used.
module github.com/rheostat-dev/rheostat/e2e/go/kueue

go 1.26.0

require sigs.k8s.io/kueue v0.14.0
