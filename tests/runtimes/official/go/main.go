// Does what the event says, well or badly: as tests/e2e/lambda do in other languages.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do, Message       string
	Status, Bytes, Ms int
}

// TypeError: the name is what callers see as errorType.
type TypeError struct{ message string }

func (e TypeError) Error() string { return e.message }

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var asked event
	_ = json.Unmarshal(raw, &asked) // an event that is no object is echoed
	switch asked.Do {
	case "error":
		if asked.Message == "" {
			asked.Message = "said so"
		}
		return nil, TypeError{asked.Message}
	case "panic":
		panic("panicked as asked")
	case "exit":
		os.Exit(asked.Status)
	case "big":
		return strings.Repeat("x", asked.Bytes-2), nil // two quotes around it
	case "size":
		var compact bytes.Buffer
		err := json.Compact(&compact, raw)
		return compact.Len(), err
	case "sleep":
		time.Sleep(time.Duration(asked.Ms) * time.Millisecond)
		return "slept", nil
	case "children":
		return "left", exec.Command("setsid", "sleep", "1000").Start()
	case "context":
		found, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{"id": found.AwsRequestID, "arn": found.InvokedFunctionArn, "name": lambdacontext.FunctionName,
			"left": time.Until(deadline).Milliseconds(), "client": nil}, nil
	case "log":
		fmt.Println(asked.Message)
		return "logged", nil
	}
	return raw, nil
}

func main() {
	if os.Getenv("INIT") == "exit" {
		os.Exit(3)
	}
	lambda.Start(handle)
}
