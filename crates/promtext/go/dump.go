package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// dump answers each page of a stream of pages. A page comes as a line "FORMAT LENGTH" (FORMAT is
// prometheus or openmetrics) and LENGTH bytes. The answer is one line for each entry that textparse
// reads, "error MESSAGE" if it stopped, and a line "---".
func dump(input *bufio.Reader, output *bufio.Writer) error {
	for {
		var format string
		var length int
		head, err := input.ReadString('\n')
		if errors.Is(err, io.EOF) && head == "" {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(head, "%s %d", &format, &length); err != nil {
			return fmt.Errorf("%q: %w", head, err)
		}
		page := make([]byte, length)
		if _, err := io.ReadFull(input, page); err != nil {
			return err
		}
		if err := entries(page, format == "openmetrics", output); err != nil {
			fmt.Fprintf(output, "error %s\n", strconv.Quote(err.Error()))
		}
		fmt.Fprintln(output, "---")
	}
}

func entries(page []byte, openMetrics bool, output *bufio.Writer) error {
	symbols := labels.NewSymbolTable()
	var parser textparse.Parser
	if openMetrics {
		parser = textparse.NewOpenMetricsParser(page, symbols)
	} else {
		parser = textparse.NewPromParser(page, symbols, false)
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch entry {
		case textparse.EntrySeries:
			sample(parser, output)
		case textparse.EntryType:
			family, kind := parser.Type()
			fmt.Fprintf(output, "type %s %s\n", hexadecimal(unescape(family)), kind)
		case textparse.EntryHelp:
			family, text := parser.Help()
			fmt.Fprintf(output, "help %s %s\n", hexadecimal(unescape(family)), hexadecimal(string(text)))
		case textparse.EntryUnit:
			family, unit := parser.Unit()
			fmt.Fprintf(output, "unit %s %s\n", hexadecimal(unescape(family)), hexadecimal(string(unit)))
		}
	}
}

func sample(parser textparse.Parser, output *bufio.Writer) {
	_, timestamp, value := parser.Series()
	var read labels.Labels
	parser.Labels(&read)
	fmt.Fprintf(output, "sample %s %s %s", set(read, false), number(value), millis(timestamp != nil, timestamp))
	var event exemplar.Exemplar
	if parser.Exemplar(&event) {
		fmt.Fprintf(output, " exemplar %s %s %s", set(event.Labels, true), number(event.Value), millis(event.HasTs, &event.Ts))
	}
	fmt.Fprintln(output)
}

// set writes labels in the order of their names, without those that have no value. Bounds of buckets are
// written as numbers, since textparse spells them anew in families that it knows to be histograms. It
// leaves escapes in exemplars as they are: escaped says so.
func set(read labels.Labels, escaped bool) string {
	var pairs []string
	read.Range(func(label labels.Label) {
		name, value := label.Name, label.Value
		if escaped {
			name, value = unescape([]byte(name)), unescape([]byte(value))
		}
		if value == "" {
			return
		}
		written := hexadecimal(value)
		if name == "le" || name == "quantile" {
			bound, err := strconv.ParseFloat(value, 64)
			if err == nil && strings.Trim(value, "0123456789.eE+-") == "" {
				written = number(bound)
			}
		}
		pairs = append(pairs, hexadecimal(name)+"="+written)
	})
	sort.Strings(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

var escapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")

// unescape is for what textparse gives out as it is on the page.
func unescape(text []byte) string {
	return escapes.Replace(string(text))
}

func millis(has bool, timestamp *int64) string {
	if !has {
		return "-"
	}
	return strconv.FormatInt(*timestamp, 10)
}

// number writes the bits, since two numbers that print alike need not be the same.
func number(value float64) string {
	if math.IsNaN(value) {
		return "nan"
	}
	return fmt.Sprintf("%016x", math.Float64bits(value))
}

// hexadecimal writes text so that no byte of it can be taken for one of the dump's own.
func hexadecimal(text string) string {
	return fmt.Sprintf("%x", text)
}
