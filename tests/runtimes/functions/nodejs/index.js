'use strict';
// Handlers of many habits. One process runs one of them.
const path = require('path');

exports.echo = async event => event;
exports.plain = event => ({ answered: event });                       // neither promise nor callback: null
exports.nothing = async () => {};
exports.text = async () => 'grüße ☃ \u2028';
exports.odd = async () => ({ date: new Date(0), none: undefined, nan: NaN, big: 1e21, nested: [undefined, () => 1], set: new Set([1]) });
exports.bigint = async () => ({ n: 10n });
exports.circular = async () => { const a = {}; a.a = a; return a; };
exports.thenable = () => ({ then: resolve => resolve('from a thenable') });
exports.large = async event => 'x'.repeat(event.size);
exports.length = async event => event.text.length;

exports.callback = (event, context, callback) => setTimeout(() => callback(null, { called: event }), 5);
exports.callbackSync = (event, context, callback) => callback(null, 'sync');
exports.callbackTwice = (event, context, callback) => { callback(null, 'first'); callback(null, 'second'); };
exports.callbackError = (event, context, callback) => callback(new TypeError('called back'));
exports.callbackString = (event, context, callback) => callback('only text');
exports.callbackWaits = (event, context, callback) => {
    setTimeout(() => console.log('the loop was waited for'), 20);
    callback(null, 'after');
};
exports.callbackDoesNotWait = (event, context, callback) => {
    context.callbackWaitsForEmptyEventLoop = false;
    setTimeout(() => {}, 60000);
    callback(null, 'at once');
};
exports.callbackCircular = (event, context, callback) => { const a = {}; a.a = a; context.callbackWaitsForEmptyEventLoop = false; callback(null, a); };
exports.succeed = (event, context) => context.succeed('succeeded');
exports.fail = (event, context) => context.fail(new RangeError('failed'));
exports.failNothing = (event, context) => context.fail();
exports.done = (event, context) => context.done(null, 'done');
exports.neverAnswers = (event, context, callback) => {};
exports.promiseNeverSettles = () => new Promise(() => {});

exports.throws = async event => { throw new Error('thrown: ' + event.why); };
exports.throwsSync = () => { throw new SyntaxError('not of a file'); };
exports.throwsText = async () => { throw 'text'; };
exports.throwsNumber = async () => { throw 42; };
exports.throwsObject = async () => { throw { code: 7 }; };
exports.throwsUndefined = async () => { throw undefined; };
exports.throwsLookalike = async () => { throw { name: 'Lookalike', message: 'as if', stack: 'Lookalike: as if\n    at nowhere (none.js:1:2)' }; };
exports.throwsMultiline = async () => { throw new Error('one\ntwo\x7F'); };
exports.throwsOwnClass = async () => {
    class OrderError extends Error { constructor(message) { super(message); this.name = 'OrderError'; this.code = 'E_ORDER'; this.cause = new Error('below'); } }
    throw new OrderError('grüße ☃');
};
exports.throwsHostile = async () => { const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { throw new Error('no'); } }); throw e; };
exports.throwsHuge = async () => { throw new Error('h'.repeat(1500000)); };
exports.throwsLong = async () => { throw new Error('h'.repeat(200000)); };
exports.uncaught = () => { setTimeout(() => { throw new Error('in a timer'); }, 1); return new Promise(() => setTimeout(() => {}, 5000)); };
exports.unhandled = async () => { Promise.reject(new Error('nobody cares')); await new Promise(resolve => setTimeout(resolve, 1000)); };
exports.exits = () => process.exit(3);
exports.exitsClean = () => process.exit(0);

exports.context = async (event, context) => {
    const left = context.getRemainingTimeInMillis();
    return { ...JSON.parse(JSON.stringify(context)), keys: Object.keys(context), types: Object.values(context).map(value => typeof value),
        left: left > 50000 && left <= 60000, trace: process.env._X_AMZN_TRACE_ID ?? null };
};
exports.remaining = async (event, context) => context.getRemainingTimeInMillis() < -1000000;
exports.environment = async () => ({ cwd: path.basename(process.cwd()), telemetry: process.env._LAMBDA_TELEMETRY_LOG_FD ?? null });

let calls = 0;
exports.counts = async () => ++calls;

exports.logs = async () => {
    console.log('plain %s and %d', 'text', 7);
    console.info({ an: 'object', deep: { er: { est: { x: 1 } } } });
    console.debug('debug', [1, 2]);
    console.warn('warn\nof two lines');
    console.error('error', new Error('logged').message);
    console.trace('trace');
    console.fatal('fatal');
    console.log();
    console.log('');
    console.log(undefined, null, true);
    process.stdout.write('raw line\n');
    return 'logged';
};
exports.logsErrors = async () => {
    const plain = Object.assign(new TypeError('an error'), { code: 'E_X' });
    plain.stack = 'TypeError: an error\n    at here (file.js:1:2)';
    console.error(plain);
    console.error('with text', plain);
    console.log({ inside: plain });
    const circular = { name: 'c' };
    circular.circular = circular;
    console.log(circular);
    console.log({ big: 1n });
    return 'logged';
};

const { streamifyResponse, HttpResponseStream } = globalThis.awslambda ?? { streamifyResponse: handler => handler };
const tick = () => new Promise(resolve => setTimeout(resolve, 2));
exports.streams = streamifyResponse(async (event, stream) => {
    stream.setContentType('text/plain');
    stream.write('one ');
    await tick();
    stream.write(Buffer.from('two '));
    stream.write(new Uint8Array([116, 104]));
    stream.end();
});
exports.streamsObject = streamifyResponse(async (event, stream) => { stream.write({ json: event }); stream.end(); });
exports.streamsHttp = streamifyResponse(async (event, stream) => {
    const http = HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 'b' }, cookies: ['c=d'] });
    http.write('body');
    http.end();
});
exports.streamsPipeline = streamifyResponse(async (event, stream) => {
    await require('stream/promises').pipeline(require('stream').Readable.from(['a', 'b', 'c'.repeat(300000)]), stream);
});
exports.streamsEndText = streamifyResponse(async (event, stream) => { stream.end('all of it'); });
exports.streamsEmpty = streamifyResponse(async (event, stream) => { stream.end(); });
exports.streamsReturns = streamifyResponse(async (event, stream) => { stream.end('x'); return 5; });
exports.streamsFailsEarly = streamifyResponse(async () => { throw new Error('before the first byte'); });
exports.streamsFailsMidway = streamifyResponse(async (event, stream) => { stream.write('half'); await tick(); throw new TypeError('midway'); });
exports.streamsNotAsync = streamifyResponse((event, stream) => { stream.end('x'); });
exports.streamsTwice = streamifyResponse(async (event, stream) => {
    stream.write('a');
    try { stream.setContentType('text/html'); } catch (error) { stream.write(`${error.name}: ${error.message}`); }
    stream.end();
});
exports.streamsNeverEnds = streamifyResponse(async (event, stream) => { stream.write('half'); });
exports.streamsDestroyed = streamifyResponse(async (event, stream) => {
    await require('stream/promises').pipeline(async function* () { yield 'half'; await tick(); throw new RangeError('the source broke'); }, stream);
});
exports.streamsHttpEmpty = streamifyResponse(async (event, stream) => { HttpResponseStream.from(stream, { statusCode: 204 }).end(); });
exports.streamsLarge = streamifyResponse(async (event, stream) => {
    for (let i = 0; i < 200; i++)
        if (!stream.write('0123456789abcdef'.repeat(4096)))
            await new Promise(resolve => stream.once('drain', resolve));
    stream.end();
});

exports.nested = { deeper: { handler: async () => 'deep' } };
exports.notAFunction = 5;

const waiting = [];
exports.meets = async (event, context) => {                            // ends when as many are inside as event.of says
    console.log('in', event.name);
    await new Promise(resolve => {
        waiting.push(resolve);
        if (waiting.length === event.of)
            waiting.splice(0).forEach(release => release());
    });
    console.log('out', event.name);
    const store = globalThis.awslambda.InvokeStore;
    return { name: event.name, same: store.getRequestId() === context.awsRequestId, trace: store.getXRayTraceId(), tenant: store.getTenantId() ?? null };
};
exports.meetsThenThrows = async (event, context) => {
    await exports.meets(event, context);
    if (event.throws)
        throw new Error(event.name);
    return event.name;
};
exports.waits = async () => {
    const held = setInterval(() => {}, 60000);
    await new Promise(resolve => {
        process.on('SIGUSR2', resolve);
        console.log('waits');
    });
    clearInterval(held);
    return 'finished';
};
exports.uncaughtAmongOthers = async event => {
    if (event.throws)
        setTimeout(() => { throw new Error('of one'); }, 1);
    await new Promise(resolve => setTimeout(resolve, 60000));
};
