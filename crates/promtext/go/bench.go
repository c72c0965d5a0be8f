package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// A measurement is the best of many turns, since whatever else the machine does can only slow it. They are
// so short that most are not interrupted.
const turn = 2 * time.Millisecond

// bench prints megabytes per second without labels and with them, and the number of samples.
func bench(page []byte, time time.Duration) error {
	symbols := labels.NewSymbolTable()
	without, samples, err := best(page, symbols, time, false)
	if err != nil {
		return err
	}
	with, _, err := best(page, symbols, time, true)
	if err != nil {
		return err
	}
	fmt.Printf("{\"textparse_mb_per_s\":%.1f,\"textparse_labels_mb_per_s\":%.1f,\"samples\":%d}\n", without, with, samples)
	return nil
}

func best(page []byte, symbols *labels.SymbolTable, length time.Duration, build bool) (float64, int, error) {
	fastest := 0.0
	samples := 0
	for end := time.Now().Add(length); time.Now().Before(end); {
		parses := 0
		start := time.Now()
		for time.Since(start) < turn {
			count, err := read(page, symbols, build)
			if err != nil {
				return 0, 0, err
			}
			samples = count
			parses++
		}
		rate := float64(parses) * float64(len(page)) / 1e6 / time.Since(start).Seconds()
		fastest = math.Max(fastest, rate)
	}
	return fastest, samples, nil
}

// read is one pass over the page, which ends in a newline: else textparse would copy it.
func read(page []byte, symbols *labels.SymbolTable, build bool) (int, error) {
	parser := textparse.NewPromParser(page, symbols, false)
	samples := 0
	sum := 0.0
	var built labels.Labels
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			if math.IsInf(sum, 0) {
				return 0, errors.New("the sum is infinite")
			}
			return samples, nil
		}
		if err != nil {
			return 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := parser.Series()
		sum += value
		samples++
		if build {
			parser.Labels(&built)
		}
	}
}
