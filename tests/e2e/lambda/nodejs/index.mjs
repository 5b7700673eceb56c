// Does what the event says, well or badly.
import { spawn } from 'node:child_process';

if (process.env.INIT === 'throw') throw new RangeError('no init today');
if (process.env.INIT === 'exit') process.exit(3);

export const handler = async (event, context) => {
    switch (event.do) {
    case 'error': throw new TypeError(event.message ?? 'said so');
    case 'exit': process.exit(event.status);
    case 'big': return 'x'.repeat(event.bytes - 2); // two quotes around it
    case 'size': return JSON.stringify(event).length;
    case 'sleep': await new Promise((done) => setTimeout(done, event.ms)); return 'slept';
    case 'children': spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).unref(); return 'left';
    case 'context': return { id: context.awsRequestId, arn: context.invokedFunctionArn, name: context.functionName,
                             left: context.getRemainingTimeInMillis(), client: context.clientContext ?? null };
    case 'log': console.log(event.message); return 'logged';
    default: return event;
    }
};

export const stream = awslambda.streamifyResponse(async (event, out) => {
    out.write('first ');
    if (event.do === 'error') throw new TypeError('in the middle');
    out.write('second');
    out.end();
});
