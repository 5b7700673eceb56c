// Does what the event says, well or badly: as tests/e2e/lambda do in other languages.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do, Message, After string
	Status, Bytes, Ms  int
}

// TypeError: the name is what callers see as errorType.
type TypeError struct{ message string }

func (e TypeError) Error() string { return e.message }

// pieces is an answer bit by bit; what comes behind the first waits for a file, by which the test says that it has read that.
type pieces struct {
	asked event
	begun bool
	rest  io.Reader
}

func (p *pieces) Read(into []byte) (int, error) {
	if !p.begun {
		p.begun = true
		return copy(into, "first "), nil
	}
	if p.rest == nil {
		for p.asked.After != "" {
			if _, err := os.Stat(p.asked.After); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		switch p.asked.Do {
		case "error":
			return 0, TypeError{"in the middle"}
		case "exit":
			os.Exit(p.asked.Status)
		case "sleep":
			time.Sleep(time.Duration(p.asked.Ms) * time.Millisecond)
		}
		p.rest = io.MultiReader(strings.NewReader(strings.Repeat("x", p.asked.Bytes)), strings.NewReader("second"))
	}
	return p.rest.Read(into)
}

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var asked event
	_ = json.Unmarshal(raw, &asked) // an event that is no object is echoed
	switch os.Getenv("_HANDLER") {
	case "stream":
		return &pieces{asked: asked}, nil
	case "url":
		return &events.LambdaFunctionURLStreamingResponse{StatusCode: 207, Headers: map[string]string{"X-A": "b"}, Body: &pieces{asked: asked}}, nil
	}
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
	switch os.Getenv("INIT") {
	case "throw":
		panic("no init today")
	case "exit":
		status, _ := strconv.Atoi(os.Getenv("INIT_STATUS"))
		os.Exit(status)
	}
	lambda.Start(handle)
}
