// Records what the HPA controller's own functions decide, for tests/hpa_controller.rs. The clock is
// simulated, so this takes no time once it is built. In a copy of e2e/go/kube:
//
//	mkdir recorder && cp "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)"/pkg/controller/podautoscaler/{horizontal,rate_limiters,replica_calculator}.go recorder/
//	cp .../tests/hpa_controller/record_test.go recorder/ && chmod u+w recorder/*
//	RECORD=/tmp/hpa.json SEED=7 RUNS=30 STEPS=40 go test -mod=mod ./recorder -run TestRecord
package podautoscaler

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/monitor"
	"k8s.io/kubernetes/pkg/controller/util/selectors"
)

type fakeMetrics struct {
	metricsclient.MetricsClient
	values map[string][]int64
}

func (f *fakeMetrics) GetExternalMetric(name, ns string, s labels.Selector) ([]int64, time.Time, error) {
	v, ok := f.values[name]
	if !ok {
		return nil, time.Time{}, fmt.Errorf("failed")
	}
	return v, time.Now(), nil
}

type step struct {
	AtMs   int64      `json:"at_ms"`
	Spec   int32      `json:"spec"`
	Status int32      `json:"status"`
	Pods   int32      `json:"pods"`
	Ready  int32      `json:"ready"`
	Values []*float64 `json:"values"`
	To     int32      `json:"to"`
	Able   string     `json:"able"`
	Active string     `json:"active"`
	Limit  string     `json:"limited"`
}
type metricDef struct {
	Kind   string  `json:"kind"`
	Target float64 `json:"target"`
}
type run struct {
	Min      int32           `json:"min"`
	Max      int32           `json:"max"`
	Behavior json.RawMessage `json:"behavior"`
	Metrics  []metricDef     `json:"metrics"`
	WindowS  float64         `json:"downscale_s"`
	Steps    []step          `json:"steps"`
}

func rules(r *rand.Rand) map[string]any {
	m := map[string]any{}
	if r.Intn(2) == 0 {
		m["stabilizationWindowSeconds"] = []int{0, 20, 60, 200}[r.Intn(4)]
	}
	if r.Intn(3) == 0 {
		m["selectPolicy"] = []string{"Max", "Min", "Disabled"}[r.Intn(3)]
	}
	if r.Intn(2) == 0 {
		var ps []any
		for i := 0; i <= r.Intn(3); i++ {
			ps = append(ps, map[string]any{"type": []string{"Pods", "Percent"}[r.Intn(2)], "value": 1 + r.Intn(60), "periodSeconds": []int{15, 30, 60, 120}[r.Intn(4)]})
		}
		m["policies"] = ps
	}
	if r.Intn(3) == 0 {
		m["tolerance"] = []string{"0", "0.05", "0.57", "200m"}[r.Intn(4)]
	}
	return m
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(name + " is no number")
	}
	return n
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewSource(int64(number("SEED"))))
		var runs []run
		for n := 0; n < number("RUNS"); n++ {
			var ru run
			ru.Min = int32(1 + r.Intn(4))
			ru.Max = ru.Min + int32(r.Intn(40))
			ru.WindowS = []float64{5, 60, 300}[r.Intn(3)]
			hpa := &autoscaling.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n"}}
			hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas = &ru.Min, ru.Max
			ru.Behavior = json.RawMessage("null")
			if r.Intn(3) > 0 {
				b := map[string]any{}
				if r.Intn(3) > 0 {
					b["scaleUp"] = rules(r)
				}
				if r.Intn(3) > 0 {
					b["scaleDown"] = rules(r)
				}
				ru.Behavior, _ = json.Marshal(b)
				hpa.Spec.Behavior = &autoscaling.HorizontalPodAutoscalerBehavior{}
				if err := json.Unmarshal(ru.Behavior, hpa.Spec.Behavior); err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; i <= r.Intn(3); i++ {
				d := metricDef{[]string{"AverageValue", "Value"}[r.Intn(2)], []float64{1, 0.8, 80, 12.345}[r.Intn(4)]}
				ru.Metrics = append(ru.Metrics, d)
				q := resource.MustParse(fmt.Sprintf("%.3f", d.Target))
				tgt := autoscaling.MetricTarget{Type: autoscaling.MetricTargetType(d.Kind)}
				if d.Kind == "Value" {
					tgt.Value = &q
				} else {
					tgt.AverageValue = &q
				}
				hpa.Spec.Metrics = append(hpa.Spec.Metrics, autoscaling.MetricSpec{Type: autoscaling.ExternalMetricSourceType, External: &autoscaling.ExternalMetricSource{Metric: autoscaling.MetricIdentifier{Name: fmt.Sprintf("m%d", i)}, Target: tgt}})
			}
			// As stored and read back by the API server.
			raw, _ := json.Marshal(hpa)
			hpa = &autoscaling.HorizontalPodAutoscaler{}
			json.Unmarshal(raw, hpa)
			defaults.SetDefaults_HorizontalPodAutoscaler(hpa)
			fm := &fakeMetrics{}
			idx := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			lister := corelisters.NewPodLister(idx)
			a := &HorizontalController{
				tolerance: 0.1, eventRecorder: record.NewFakeRecorder(100000), monitor: monitor.New(), podLister: lister,
				downscaleStabilisationWindow: time.Duration(ru.WindowS * float64(time.Second)),
				recommendations:              map[string][]timestampedRecommendation{}, scaleUpEvents: map[string][]timestampedScaleEvent{}, scaleDownEvents: map[string][]timestampedScaleEvent{},
				hpaSelectors: selectors.NewBiMultimap(),
			}
			a.replicaCalc = NewReplicaCalculator(fm, lister, 0, 0)
			start := time.Now()
			cur := ru.Min + int32(r.Intn(int(ru.Max)))
			level := float64(r.Intn(30))
			for s := 0; s < number("STEPS"); s++ {
				if s > 0 {
					time.Sleep(time.Duration(r.Intn(40000)) * time.Millisecond)
				}
				if r.Intn(5) == 0 {
					level = r.Float64() * float64(ru.Max) * 1.4
				}
				var st step
				st.AtMs = time.Since(start).Milliseconds()
				st.Spec, st.Status = cur, max(0, cur-int32(r.Intn(3)))
				if r.Intn(40) == 0 {
					st.Spec = int32(r.Intn(60))
				}
				st.Pods = st.Status
				st.Ready = max(0, st.Pods-int32(r.Intn(3)))
				fm.values = map[string][]int64{}
				for i, d := range ru.Metrics {
					if r.Intn(12) == 0 {
						st.Values = append(st.Values, nil)
						continue
					}
					f := level * d.Target * (0.8 + 0.4*r.Float64())
					if d.Kind == "Value" {
						f /= float64(max(1, cur))
					}
					f = math.Round(f*1000) / 1000
					q := resource.MustParse(fmt.Sprintf("%.3f", f))
					fm.values[fmt.Sprintf("m%d", i)] = []int64{q.MilliValue()}
					st.Values = append(st.Values, &f)
				}
				idx.Replace(nil, "")
				for i := int32(0); i < st.Pods; i++ {
					p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i), Namespace: "n", Labels: map[string]string{"a": "b"}}, Status: v1.PodStatus{Phase: v1.PodRunning}}
					if i < st.Ready {
						p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}
					}
					idx.Add(p)
				}
				hpa.Status.Conditions = nil
				key := "n/x"
				current := st.Spec
				a.recordInitialRecommendation(current, key)
				desired, rescale := int32(0), true
				switch {
				case current == 0:
					rescale = false
				case current > ru.Max:
					desired = ru.Max
				case current < ru.Min:
					desired = ru.Min
				default:
					scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: current}, Status: autoscalingv1.ScaleStatus{Replicas: st.Status, Selector: "a=b"}}
					m, _, _, _, err := a.computeReplicasForMetrics(context.Background(), hpa, scale, hpa.Spec.Metrics)
					if err != nil && m == -1 {
						rescale = false
						break
					}
					desired = max(desired, m)
					if hpa.Spec.Behavior == nil {
						desired = a.normalizeDesiredReplicas(hpa, key, current, desired, ru.Min)
					} else {
						desired = a.normalizeDesiredReplicasWithBehaviors(hpa, key, current, desired, ru.Min)
					}
					rescale = desired != current
				}
				if !rescale {
					desired = current
				} else {
					a.storeScaleEvent(hpa.Spec.Behavior, key, current, desired)
				}
				st.To = desired
				for _, c := range hpa.Status.Conditions {
					w := fmt.Sprintf("%s %s", c.Status, c.Reason)
					switch c.Type {
					case autoscaling.AbleToScale:
						st.Able = w
					case autoscaling.ScalingActive:
						st.Active = w
					case autoscaling.ScalingLimited:
						st.Limit = w
					}
				}
				ru.Steps = append(ru.Steps, st)
				cur = desired
			}
			runs = append(runs, ru)
		}
		out, _ := json.Marshal(runs)
		os.WriteFile(os.Getenv("RECORD"), out, 0o644)
	})
}
