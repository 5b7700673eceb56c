// Does what the event says, well or badly.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

if (process.env.INIT === 'throw') throw new RangeError('no init today');
if (process.env.INIT === 'exit') process.exit(Number(process.env.INIT_STATUS));

export const handler = async (event, context) => {
    switch (event.do) {
    case 'error': throw new TypeError(event.message ?? 'said so');
    case 'exit': process.exit(event.status);
    case 'big': return 'x'.repeat(event.bytes - 2); // two quotes around it
    case 'size': return JSON.stringify(event).length;
    case 'sleep': await sleep(event.ms); return 'slept';
    case 'children': spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).unref(); return 'left';
    case 'context': return { id: context.awsRequestId, arn: context.invokedFunctionArn, name: context.functionName,
                             left: context.getRemainingTimeInMillis(), client: context.clientContext ?? null };
    case 'log': console.log(event.message); return 'logged';
    default: return event;
    }
};

// Bit by bit; what comes behind the first piece waits for a file, by which the test says that it has read that.
export const stream = awslambda.streamifyResponse(async (event, out) => {
    out.write('first ');
    while (event.after && !existsSync(event.after)) await sleep(5);
    switch (event.do) {
    case 'error': throw new TypeError('in the middle');
    case 'exit': process.exit(event.status);
    case 'sleep': await sleep(event.ms); break;
    case 'big':
        for (let left = event.bytes; left > 0; left -= 65536)
            if (!out.write('x'.repeat(Math.min(left, 65536)))) await once(out, 'drain');
    }
    out.write('second');
    out.end();
});
