// What tests ask of a function, by the event's "do". The same in each language here.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	Do             string
	Code, Size, Ms int
}

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var asked event
	_ = json.Unmarshal(raw, &asked) // an event that is no object is echoed
	switch asked.Do {
	case "fail":
		return nil, errors.New("failed as asked")
	case "panic":
		panic("panicked as asked")
	case "exit":
		os.Exit(asked.Code)
	case "large":
		return strings.Repeat("x", asked.Size), nil
	case "sleep":
		time.Sleep(time.Duration(asked.Ms) * time.Millisecond)
		return "slept", nil
	}
	return raw, nil
}

func main() {
	lambda.Start(handle)
}
