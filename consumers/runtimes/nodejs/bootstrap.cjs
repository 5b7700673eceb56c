'use strict';
/* bootstrap.cjs - runs an AWS Lambda function for Node.js, as it is, under the Lambda Runtime API (2018-06-01). No dependencies; Node 18 and later.
 *
 *   load _HANDLER from LAMBDA_TASK_ROOT ──> GET next ──> handler ──> POST response (and, in the same packet, GET next) ──> ...
 *
 * What a function can see (context, error bodies, log lines, exit codes) is as in AWS's own runtime. Two things are done otherwise, for speed:
 * CommonJS, because an ES module as the program costs milliseconds at each start; and a small HTTP client on a socket, because `http` costs more of
 * them, is instrumented by tracing libraries (which are after the function's requests, not ours), and cannot send two requests at once.
 *
 * Parts, top to bottom: Channel (HTTP), errors, logs, loading, ResponseStream, contexts, Runtime (one invocation after the other), the process. */
const fs = require('fs');
const net = require('net');
const path = require('path');
const util = require('util');
const { pathToFileURL } = require('url');
const { Writable } = require('stream');

const API = '/2018-06-01/runtime/';
const HEAD_BYTES_MAX = 1 << 20;               /* of an answer's head: client contexts are far below it */
const XRAY_CAUSE_BYTES_MAX = 1 << 20;         /* of one header line: what the Runtime API takes */
const RECONNECT_PAUSE_MS = 100;               /* who closes a parked request is mostly about to end us: its SIGTERM comes first */
const EXIT_REJECTION = 128, EXIT_EXCEPTION = 129;

/* ---- Channel: one kept connection to the Runtime API. Requests may follow each other before their answers, which come in the same order. ---- */

/* An answer as it arrives: head, then a body by length, in chunks, or until the connection closes. */
class AnswerReader {
    constructor(onAnswer) {
        this.onAnswer = onAnswer;
        this.rest = null;                     /* bytes of a head or chunk line that is not whole yet */
        this.answer = null;                   /* its head was read */
        this.body = null;                     /* Buffer of content-length, filled up to `filled` */
        this.filled = 0;
        this.pieces = null;                   /* of a chunked body, or of one until close */
        this.chunkLeft = 0;                   /* bytes of the chunk, its CRLF included; 0: a chunk line is next; -1: trailers; Infinity: until close */
    }

    feed(bytes) {
        if (this.rest) {
            bytes = Buffer.concat([this.rest, bytes]);
            this.rest = null;
        }
        let at = 0;
        while (at < bytes.length && at !== -1)
            at = this.answer ? this.feedBody(bytes, at) : this.feedHead(bytes, at);
    }

    /* The rest has to wait for more: bytes are the socket's buffer, which the next read overwrites. */
    keep(bytes, at) {
        if (bytes.length - at > HEAD_BYTES_MAX)
            throw new Error(`the Runtime API answered with a head of more than ${HEAD_BYTES_MAX} bytes`);
        this.rest = Buffer.from(bytes.subarray(at));
        return -1;
    }

    feedHead(bytes, at) {
        const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
        if (end === -1)
            return this.keep(bytes, at);
        const lines = bytes.toString('utf8', at, end).split('\r\n');
        const status = /^HTTP\/1\.[01] (\d{3})/.exec(lines[0]);
        if (!status)
            throw new Error(`the Runtime API answered with no HTTP: ${JSON.stringify(lines[0].slice(0, 80))}`);
        const headers = Object.create(null);
        for (let i = 1; i < lines.length; i++) {
            const colon = lines[i].indexOf(':');
            headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
        }
        at = end + 4;
        if (status[1][0] === '1')             /* interim, such as 100 Continue */
            return at;
        this.answer = { status: Number(status[1]), headers, text: '', closes: headers.connection?.toLowerCase() === 'close' };
        if (headers['transfer-encoding']?.toLowerCase() === 'chunked') {
            this.pieces = [];
            this.chunkLeft = 0;
        } else if (headers['content-length'] !== undefined) {
            const length = Number(headers['content-length']);
            if (bytes.length - at >= length)  /* the common case: no copy but the text itself */
                return this.end(bytes.toString('utf8', at, at + length), at + length);
            this.body = Buffer.allocUnsafe(length);
            this.filled = 0;
        } else if (status[1] === '204') {
            return this.end('', at);
        } else {
            this.pieces = [];
            this.chunkLeft = Infinity;
            this.answer.closes = true;
        }
        return at;
    }

    feedBody(bytes, at) {
        if (this.body) {
            const taken = bytes.copy(this.body, this.filled, at);
            this.filled += taken;
            return this.filled < this.body.length ? at + taken : this.end(this.body.toString('utf8'), at + taken);
        }
        if (this.chunkLeft > 0) {
            const taken = Math.min(this.chunkLeft, bytes.length - at);
            const data = Math.min(this.chunkLeft - 2, taken);         /* without the chunk's CRLF */
            if (data > 0)
                this.pieces.push(Buffer.from(bytes.subarray(at, at + data)));
            this.chunkLeft -= taken;
            return at + taken;
        }
        const end = bytes.indexOf('\r\n', at, 'latin1');
        if (end === -1)
            return this.keep(bytes, at);
        if (this.chunkLeft === -1)            /* a trailer, or the empty line that ends them */
            return end === at ? this.end(Buffer.concat(this.pieces).toString('utf8'), at + 2) : end + 2;
        const size = parseInt(bytes.toString('latin1', at, end), 16);
        if (!(size >= 0))
            throw new Error('the Runtime API sent a chunk without a size');
        this.chunkLeft = size > 0 ? size + 2 : -1;
        return end + 2;
    }

    closed() {
        if (this.answer && this.chunkLeft === Infinity)
            this.end(Buffer.concat(this.pieces).toString('utf8'), 0);
    }

    end(text, at) {
        const answer = this.answer;
        answer.text = text;
        this.answer = this.body = this.pieces = null;
        this.chunkLeft = 0;
        this.onAnswer(answer);
        return at;
    }
}

class Channel {
    constructor(address) {
        const colon = address.lastIndexOf(':');
        this.host = address.slice(0, colon).replace(/^\[|\]$/g, '');
        this.port = Number(address.slice(colon + 1));
        this.address = address;
        this.socket = null;
        this.waiting = [];                    /* requests whose answers are to come, oldest first */
        this.corked = false;
        this.connected = false;               /* once */
    }

    /* `headers`: lines, each with its CRLF. Resolves with { status, headers, text }; rejects when the connection broke twice. */
    request(method, target, headers, body) {
        return new Promise((resolve, reject) => {
            const length = body === undefined ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
            const head = `${method} ${API}${target} HTTP/1.1\r\nHost: ${this.address}\r\n${headers}${length}\r\n`;
            this.send({ head, body, resolve, reject, tries: 0, streams: false });
        });
    }

    get(target) { return this.request('GET', target, ''); }
    post(target, headers, body) { return this.request('POST', target, 'Content-Type: application/json\r\n' + headers, body); }

    /* A request whose body comes in pieces: write() them, end() it once. `answered` settles as request() does. */
    stream(target, headers) {
        let sent;
        const answered = new Promise((resolve, reject) => {
            const head = `POST ${API}${target} HTTP/1.1\r\nHost: ${this.address}\r\n${headers}Transfer-Encoding: chunked\r\n\r\n`;
            sent = this.send({ head, body: undefined, resolve, reject, tries: 0, streams: true });
        });
        answered.catch(() => {});             /* heard by those who wait for it */
        const write = (bytes, callback) => (sent.destroyed ? process.nextTick(callback, new Error('the Runtime API closed the connection'))
            : sent.write(bytes, callback));
        return {
            answered,
            write(pieces, callback) {
                let length = 0;
                for (const piece of pieces)
                    length += piece.length;
                if (length === 0)             /* a chunk of 0 bytes would be the end */
                    return process.nextTick(callback);
                sent.cork();
                sent.write(length.toString(16) + '\r\n', 'latin1');
                for (const piece of pieces)
                    sent.write(piece);
                write('\r\n', callback);
                sent.uncork();
            },
            end(trailers, callback) {
                sent.ref();
                write(`0\r\n${trailers}\r\n`, callback);
            },
        };
    }

    send(request) {
        const socket = this.socket ?? this.connect();
        this.waiting.push(request);
        /* Only while an answer is to come does the connection keep the event loop going: what is left otherwise is the function's own. */
        if (!request.streams)
            socket.ref();
        if (!this.corked) {
            this.corked = true;               /* a response and the next request leave in one packet */
            socket.cork();
            process.nextTick(() => {
                if (this.socket === socket)
                    this.corked = false;
                socket.uncork();
            });
        }
        socket.write(request.head, 'utf8');
        if (request.body !== undefined && request.body !== '')
            socket.write(request.body, 'utf8');
        return socket;
    }

    connect() {
        let connected = false;
        let failure = null;
        const reader = new AnswerReader(answer => {
            this.waiting.shift()?.resolve(answer);
            if (answer.closes)
                lose(0);
            else if (this.waiting.length === 0)
                socket.unref();
        });
        const onRead = (count, buffer) => {
            try {
                reader.feed(buffer.subarray(0, count));
            } catch (error) {
                failure = error;
                socket.destroy();
            }
            return true;
        };
        const socket = this.socket = net.connect({ host: this.host, port: this.port, onread: { buffer: Buffer.allocUnsafe(64 << 10), callback: onRead } });
        socket.setNoDelay(true);
        socket.unref();
        socket.on('connect', () => { connected = this.connected = true; });
        socket.on('error', error => { failure = error; });
        socket.on('end', () => socket.destroy());
        socket.on('close', () => {
            reader.closed();
            lose(RECONNECT_PAUSE_MS);
        });
        /* What was not answered is sent once more: `next` gives the same event again, a second response is refused by its id. A body that
         * came in pieces is gone. */
        const lose = pause_ms => {
            if (this.socket !== socket)
                return;
            this.socket = null;
            this.corked = false;
            socket.destroy();
            for (const request of this.waiting.splice(0)) {
                if (!connected || request.streams || request.tries++ !== 0)
                    request.reject(failure ?? new Error('the Runtime API closed the connection'));
                else if (request.body === undefined && pause_ms > 0)
                    setTimeout(() => this.send(request), pause_ms);
                else
                    this.send(request);
            }
        };
        return socket;
    }
}

/* ---- errors: what a thrown value becomes for the caller, for X-Ray and in the log ---- */

class RuntimeError extends Error {}           /* of the runtime; `name` is in the prototype, so that stacks begin with it */
function runtimeError(name) {
    const made = class extends RuntimeError {};
    made.prototype.name = `Runtime.${name}`;
    return made;
}
const ImportModuleError = runtimeError('ImportModuleError');
const HandlerNotFound = runtimeError('HandlerNotFound');
const MalformedHandlerName = runtimeError('MalformedHandlerName');
const UserCodeSyntaxError = runtimeError('UserCodeSyntaxError');
const MalformedStreamingHandler = runtimeError('MalformedStreamingHandler');
const InvalidStreamingOperation = runtimeError('InvalidStreamingOperation');
const UnhandledPromiseRejection = class extends runtimeError('UnhandledPromiseRejection') {
    constructor(reason, promise) {
        super(reason);
        this.reason = reason;
        this.promise = promise;
    }
};

/* DEL may not stand in a header. */
const withoutDel = text => text?.replace(/\x7F/g, '%7F');

function looksLikeError(value) {
    return util.types.isNativeError(value) ||
        (value && typeof value.name === 'string' && typeof value.message === 'string' && typeof value.stack === 'string' &&
            value.name && value.message && value.stack);
}

/* The body of an error report. */
function errorBody(error) {
    try {
        if (looksLikeError(error))
            return { errorType: withoutDel(error.name), errorMessage: withoutDel(error.message), trace: withoutDel(error.stack).split('\n') };
        return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
    } catch {
        return {
            errorType: 'handled',
            errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
        };
    }
}

/* "    at label (path:line:column)", or without label and parentheses. */
function stackFrame(line) {
    const text = line.trim().replace(/[()]/g, '');
    const place = text.slice(text.indexOf(' ') + 1);
    const space = place.lastIndexOf(' ');
    const [file, number] = place.slice(space + 1).split(':');
    return { path: file, line: parseInt(number), label: space > 0 ? place.slice(0, space) : 'anonymous' };
}

/* The header line for X-Ray, with its CRLF; nothing if there is no cause to tell. */
function xrayHeader(error) {
    try {
        const stack = error.stack ? withoutDel(error.stack).split('\n').slice(1).map(stackFrame) : [];
        const cause = JSON.stringify({
            working_directory: process.cwd(),
            exceptions: [{ type: withoutDel(error.name), message: withoutDel(error.message), stack }],
            paths: [...new Set(stack.map(frame => frame.path))],
        });
        return Buffer.byteLength(cause) < XRAY_CAUSE_BYTES_MAX ? `Lambda-Runtime-Function-XRay-Error-Cause: ${cause}\r\n` : '';
    } catch {
        return '';
    }
}

/* Header values end at a line's end: an error may be named anything. */
const headerValue = text => String(text).replace(/[^\x20-\x7e]/g, '?');

/* ---- logs: console.* as lines of TIME, REQUEST ID, LEVEL, message; or as JSON; to stdout, or framed to a descriptor ---- */

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId'), TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');

function errorFields(error, stackOtherwise) {
    return {
        errorType: error.constructor?.name ?? 'UnknownError',
        errorMessage: error.message,
        stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : stackOtherwise,
    };
}

function textRecord(time, id, level, parameters) {
    return `${time}\t${id}\t${level}\t${util.format(...parameters)}`;
}

function jsonRecord(time, id, level, parameters) {
    const record = { timestamp: time, level, requestId: id, tenantId: globalThis[TENANT_ID] ?? undefined };
    if (parameters.length === 1) {
        record.message = parameters[0];
        try {
            return JSON.stringify(record, (key, value) => (value instanceof Error ? { ...errorFields(value, value.stack), ...value } : value));
        } catch {
            record.message = util.format(record.message);
            return JSON.stringify(record);
        }
    }
    record.message = util.format(...parameters);
    const error = parameters.find(parameter => parameter instanceof Error);
    return JSON.stringify(error ? Object.assign(record, errorFields(error, [])) : record);
}

const logsJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
let writeRecord;

function logTo(level, id, parameters) {
    const now = new Date();
    const record = (logsJson ? jsonRecord : textRecord)(now.toISOString(), id, LEVELS[level], parameters);
    writeRecord(record, level, now);
}

function patchConsole() {
    const descriptor = process.env._LAMBDA_TELEMETRY_LOG_FD;
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
    if (descriptor === undefined) {
        /* A record is one line: its own line breaks become returns. */
        writeRecord = record => process.stdout.write(record.replace(/\n/g, '\r') + '\n');
    } else {
        const fd = Number(descriptor);
        writeRecord = (record, level, now) => {
            const message = Buffer.from(logsJson ? record : record + '\n');
            const head = Buffer.allocUnsafe(16);
            head.writeUInt32BE((logsJson ? 0xa55a0002 : 0xa55a0003) + 4 * (level + 1), 0);
            head.writeUInt32BE(message.length, 4);
            head.writeBigInt64BE(BigInt(now.valueOf()) * 1000n, 8);
            fs.writevSync(fd, [head, message]);
        };
    }
    const lowest = LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase());
    LEVELS.forEach((name, level) => {
        console[name.toLowerCase()] = level < lowest && name !== 'FATAL' ? () => {}
            : (message, ...parameters) => logTo(level, globalThis[REQUEST_ID], [message, ...parameters]);
    });
    console.log = console.info;
}

/* Own properties of errors too, at any depth. */
function errorLine(error) {
    try {
        return '\t' + JSON.stringify(error, (key, value) => (!(value instanceof Error) ? value : {
            errorType: value.name, errorMessage: value.message, code: value.code, ...value,
            ...(typeof value.stack === 'string' ? { stack: value.stack.split('\n') } : {}),
        }));
    } catch {
        return '\t' + JSON.stringify(errorBody(error));
    }
}

function logError(what, value) {
    const error = value instanceof Error ? value : new Error(value);
    if (logsJson)
        console.error(error);
    else
        console.error(what, errorLine(error));
}

/* ---- loading: "folder/module.export.path", as CommonJS or ES module ---- */

const HANDLER_STREAMS = Symbol.for('aws.lambda.runtime.handler.streaming');
const HANDLER_HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const HTTP_RESPONSE = 'application/vnd.awslambda.http-integration-response';
const PRELUDE_END = new Uint8Array(8);

class HttpResponseStream {
    /* `prelude`: { statusCode, headers, cookies }; it goes before the first byte of the body. */
    static from(stream, prelude) {
        stream.setContentType(HTTP_RESPONSE);
        const text = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = write => {
            write(text);
            write(PRELUDE_END);
        };
        return stream;
    }
}

const noGlobal = ['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA);

function offerGlobal() {
    if (noGlobal)
        return;
    globalThis.awslambda = Object.assign(globalThis.awslambda ?? {}, {
        streamifyResponse(handler, options) {
            handler[HANDLER_STREAMS] = 'response';
            if (typeof options?.highWaterMark === 'number')
                handler[HANDLER_HIGH_WATER_MARK] = parseInt(options.highWaterMark);
            return handler;
        },
        HttpResponseStream,
    });
}

/* Whether the nearest package.json above `folder` says so; none beyond a node_modules. */
function isModulePackage(folder) {
    for (;; folder = path.dirname(folder)) {
        if (folder.endsWith('/node_modules'))
            return false;
        const file = path.join(folder, 'package.json');
        if (fs.existsSync(file)) {
            try {
                return JSON.parse(fs.readFileSync(file, 'utf8'))?.type === 'module';
            } catch (error) {
                console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
                return false;
            }
        }
        if (folder === '/')
            return false;
    }
}

async function loadModule(root, folder, name) {
    const base = path.resolve(root, folder, name);
    if (fs.existsSync(base))
        return require(base);
    if (fs.existsSync(base + '.js'))
        return isModulePackage(path.dirname(base)) ? import(pathToFileURL(base + '.js')) : require(base + '.js');
    if (fs.existsSync(base + '.mjs'))
        return import(pathToFileURL(base + '.mjs'));
    if (fs.existsSync(base + '.cjs'))
        return require(base + '.cjs');
    return require(require.resolve(name, { paths: [root, folder] }));     /* a package */
}

async function loadHandler(root, name) {
    if (name.includes('..'))
        throw new MalformedHandlerName(
            `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
    const last = path.basename(name);
    const folder = name.slice(0, name.indexOf(last));
    const parts = /^([^.]*)\.(.*)$/.exec(last);
    if (!parts)
        throw new MalformedHandlerName('Bad handler');
    let loaded;
    try {
        loaded = await loadModule(root, folder, parts[1]);
    } catch (error) {
        if (error instanceof SyntaxError)
            throw new UserCodeSyntaxError(error);
        if (error?.code === 'MODULE_NOT_FOUND')
            throw new ImportModuleError(error);
        throw error;
    }
    let handler = loaded;
    for (const key of parts[2].split('.'))
        handler = handler && handler[key];
    if (!handler)
        throw new HandlerNotFound(`${name} is undefined or not exported`);
    if (typeof handler !== 'function')
        throw new HandlerNotFound(`${name} is not a function`);
    const streams = handler[HANDLER_STREAMS] ?? false;
    if (streams !== false && streams !== 'response')
        throw new MalformedStreamingHandler('Only response streaming is supported.');
    const highWaterMark = parseInt(handler[HANDLER_HIGH_WATER_MARK]);
    return { handler, streams: streams === 'response', highWaterMark: Number.isNaN(highWaterMark) ? undefined : highWaterMark };
}

/* ---- ResponseStream: what a streaming handler writes to ---- */

class ResponseStream extends Writable {
    #open;                                    /* (headers) => a stream of the channel */
    #body = null;
    #contentType = 'application/octet-stream';
    #begun = false;                           /* the function wrote */
    #trailers = '';
    #ended = false;

    constructor(open, highWaterMark) {
        super({ highWaterMark });
        this.#open = open;
        this._onBeforeFirstWrite = undefined;
        this.on('error', () => {});           /* it reaches the handler by what it pipes, and us by fail() */
    }

    setContentType(type) {
        if (this.#begun)
            throw new InvalidStreamingOperation('Cannot set content-type, too late.');
        this.#contentType = type;
    }

    write(chunk, encoding, callback) {
        this.#begin();
        if (typeof chunk !== 'string' && !Buffer.isBuffer(chunk) && chunk?.constructor !== Uint8Array)
            chunk = JSON.stringify(chunk);
        return super.write(chunk, encoding, callback);
    }

    end(chunk, encoding, callback) {
        if (typeof chunk === 'function')
            [chunk, callback] = [undefined, chunk];
        else if (typeof encoding === 'function')
            [encoding, callback] = [undefined, encoding];
        if (chunk !== undefined && chunk !== null)
            this.write(chunk, encoding);
        else if (this.#trailers === '' && !this.writableEnded)
            this.#begin();                    /* a status and headers without a body are an answer too */
        return super.end(callback);
    }

    #begin() {
        if (this.#begun)
            return;
        this.#begun = true;
        if (typeof this._onBeforeFirstWrite === 'function')
            this._onBeforeFirstWrite(piece => super.write(piece));
    }

    /* The request's head leaves with the first bytes, or with the end. */
    #request() {
        this.#body ??= this.#open('Lambda-Runtime-Function-Response-Mode: streaming\r\n' +
            'Trailer: Lambda-Runtime-Function-Error-Type\r\nTrailer: Lambda-Runtime-Function-Error-Body\r\n' +
            `Content-Type: ${headerValue(this.#contentType)}\r\n`);
        return this.#body;
    }

    _write(chunk, encoding, callback) { this.#request().write([chunk], callback); }
    _writev(chunks, callback) { this.#request().write(chunks.map(entry => entry.chunk), callback); }
    _final(callback) {
        this.#ended = true;
        this.#request().end(this.#trailers, callback);
    }

    /* Ends the response with the error in its trailers; also one that the function destroyed. One that it ended stays as it is. */
    fail(error) {
        if (this.#ended || (this.writableEnded && !this.destroyed))
            return;
        const body = errorBody(error);
        this.#trailers = `Lambda-Runtime-Function-Error-Type: ${headerValue(body.errorType)}\r\n` +
            `Lambda-Runtime-Function-Error-Body: ${Buffer.from(JSON.stringify(body)).toString('base64')}\r\n`;
        if (this.destroyed)
            this._final(() => {});
        else
            super.end();
    }

    get sent() { return this.#body !== null; }            /* bytes of it have left */
    get answered() { return this.#request().answered; }
}

/* ---- one invocation: what its headers say, and its context object ---- */

function parseHeader(text, name) {
    try {
        return text === undefined ? undefined : JSON.parse(text);
    } catch (error) {
        throw new Error(`Cannot parse ${name} as json: ${error.toString()}`);
    }
}

function fillContext(context, headers) {
    const deadline = Number(headers['lambda-runtime-deadline-ms'] ?? 0);
    return Object.assign(context, {
        functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
        functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
        memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
        logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
        logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
        clientContext: parseHeader(headers['lambda-runtime-client-context'], 'ClientContext'),
        identity: parseHeader(headers['lambda-runtime-cognito-identity'], 'CognitoIdentity'),
        invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
        awsRequestId: headers['lambda-runtime-aws-request-id'],
        tenantId: headers['lambda-runtime-aws-tenant-id'],
        getRemainingTimeInMillis: () => deadline - Date.now(),
    });
}

/* ---- Runtime: one invocation after the other, on its own connection. There is one, or AWS_LAMBDA_MAX_CONCURRENCY of them ---- */

const concurrency = Math.max(1, parseInt(process.env.AWS_LAMBDA_MAX_CONCURRENCY) || 1);
/* With more than one, "the current invocation" is that of the asynchronous context. */
const invocations = concurrency > 1 ? new (require('async_hooks').AsyncLocalStorage)() : null;
let onLoopEmpty = () => {};                   /* what `beforeExit` does next; with more runtimes than one the loop is never empty */
let stopping = false;                         /* SIGTERM came */

/* The names Runtime and handler are in the stack traces that callers get. */
class Runtime {
    constructor(channel, loaded) {
        this.channel = channel;
        this.handler = loaded.handler;
        this.streams = loaded.streams;
        this.highWaterMark = loaded.highWaterMark;
        this.id = undefined;                  /* of the invocation it is at */
        this.stream = null;
        this.last = null;                     /* the answer to its newest report */
    }

    next() {
        this.id = undefined;
        this.stream = null;
        onLoopEmpty = () => {};
        if (dying)                            /* an event taken now would be lost */
            return;
        if (stopping) {
            leaveWhenIdle();
            return;
        }
        this.channel.get('invocation/next').then(answer => this.begin(answer), error => workIsOver(error.message, this.channel.connected));
    }

    begin(answer) {
        if (answer.status !== 200) {
            workIsOver(`${answer.status} ${answer.text}`, false);
            return;
        }
        this.id = answer.headers['lambda-runtime-aws-request-id'];
        if (invocations) {
            invocations.run({
                runtime: this,
                [STORE.REQUEST_ID]: this.id,
                [STORE.X_RAY_TRACE_ID]: answer.headers['lambda-runtime-trace-id'],
                [STORE.TENANT_ID]: answer.headers['lambda-runtime-aws-tenant-id'],
            }, () => this.invoke(answer));
            return;
        }
        globalThis[REQUEST_ID] = this.id;
        globalThis[TENANT_ID] = answer.headers['lambda-runtime-aws-tenant-id'];
        if (answer.headers['lambda-runtime-trace-id'])
            process.env._X_AMZN_TRACE_ID = answer.headers['lambda-runtime-trace-id'];
        else
            delete process.env._X_AMZN_TRACE_ID;
        this.invoke(answer);
    }

    invoke(answer) {
        if (this.streams)
            this.invokeStreaming(answer);
        else
            this.invokeBuffered(answer);
    }

    target(end) { return `invocation/${encodeURIComponent(this.id)}/${end}`; }

    /* Whatever the Runtime API says, its word to the caller stands, and the next invocation is no worse for it. */
    post(end, headers, body) {
        const id = this.id;
        this.last = this.channel.post(this.target(end), headers, body).then(answer => {
            if (answer.status !== 202)
                logTo(LEVELS.indexOf('ERROR'), id, [`the Runtime API refused the ${end}: ${answer.status} ${answer.text}`]);
        }, error => logTo(LEVELS.indexOf('ERROR'), id, [`the ${end} did not reach the Runtime API: ${error.message}`]));
        return this.last;
    }

    postResponse(result) {
        let body;
        try {
            body = JSON.stringify(result) ?? 'null';
        } catch {
            throw new Error('Unable to stringify response body');
        }
        this.post('response', '', body);
    }

    postError(error) {
        return this.post('error', xrayHeader(error), JSON.stringify(errorBody(error)));
    }

    /* ---- a handler that returns, calls back, or promises ---- */

    invokeBuffered(answer) {
        const [context, callback] = this.contextOf();
        /* It neither called back nor promised anything that will come: its answer is null. */
        onLoopEmpty = () => context.succeed(null);
        try {
            const event = JSON.parse(answer.text);
            answer.text = null;               /* may be large, and the handler long */
            const result = this.handler(event, fillContext(context, answer.headers), callback);
            if (typeof result?.then === 'function')
                result.then(context.succeed, context.fail).catch(context.fail);
        } catch (error) {
            callback(error);
        }
    }

    contextOf() {
        let over = false;
        let waits = true;
        const once = report => (...parameters) => {
            if (!over) {
                report(...parameters);
                over = true;                  /* not before: a result that is no JSON may still be reported as an error */
            }
        };
        const done = (error, result) => {
            onLoopEmpty = () => {};
            if (error !== undefined && error !== null) {
                logError('Invoke Error', error);
                this.postError(error);
            } else {
                this.postResponse(result);
            }
            this.next();
        };
        const fail = error => done(error ?? 'handled');
        const callback = once((error, result) => {
            if ((error !== undefined && error !== null) || !waits || invocations) {
                done(error, result);
                return;
            }
            onLoopEmpty = () => setImmediate(() => {
                try {
                    done(null, result);
                } catch (failure) {
                    done(failure);
                }
            });
        });
        const context = {
            get callbackWaitsForEmptyEventLoop() { return waits; },
            set callbackWaitsForEmptyEventLoop(value) { waits = value; },
            succeed: once(result => done(null, result)),
            fail: once(fail),
            done: once(done),
        };
        return [context, callback];
    }

    /* ---- a handler that writes to a stream ---- */

    async invokeStreaming(answer) {
        const stream = this.stream = new ResponseStream(headers => this.channel.stream(this.target('response'), headers), this.highWaterMark);
        let waits = true;
        const context = {
            get callbackWaitsForEmptyEventLoop() { return waits; },
            set callbackWaitsForEmptyEventLoop(value) { waits = value; },
        };
        const UNFINISHED = 'Response stream is not finished.';
        /* Nothing is left that could write: without this the invocation would last until its timeout. */
        const abandoned = new Promise((resolve, reject) => {
            onLoopEmpty = () => reject(UNFINISHED);
        });
        try {
            const event = JSON.parse(answer.text);
            answer.text = null;
            const promise = this.handler(event, stream, fillContext(context, answer.headers));
            if (typeof promise?.then !== 'function')
                throw 'Streaming does not support non-async handlers.';
            if (await Promise.race([promise, abandoned]) !== undefined)
                console.warn('Streaming handlers ignore return values.');
            if (!stream.writableFinished && !stream.destroyed)
                await Promise.race([new Promise(resolve => stream.once('close', resolve)), abandoned]);
            if (!stream.writableFinished)
                throw UNFINISHED;
        } catch (error) {
            logError('Invoke Error', error);
            stream.fail(error);
        }
        await this.streamAnswered(stream);
        this.last = null;
        if (!waits || invocations)
            this.next();
        else
            onLoopEmpty = () => setImmediate(() => this.next());
    }

    async streamAnswered(stream) {
        const id = this.id;
        try {
            const answer = await stream.answered;
            if (answer.status !== 202)
                logTo(LEVELS.indexOf('ERROR'), id, [`the Runtime API refused the response: ${answer.status} ${answer.text}`]);
        } catch (error) {
            logTo(LEVELS.indexOf('ERROR'), id, [`the response did not reach the Runtime API: ${error.message}`]);
        }
    }

    /* The process is about to die of this: the caller is told first. */
    async die(error) {
        if (this.id === undefined)
            return;
        if (!this.stream?.sent) {
            await this.postError(error);
            return;
        }
        this.stream.fail(error);
        await this.streamAnswered(this.stream);
    }
}

/* ---- the process: start, uncaught errors, SIGTERM ---- */

/* `awslambda.InvokeStore`, by which tracing and logging libraries ask whose turn it is where several are. */
const STORE = {
    REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
    X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
    TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
};

function offerStore() {
    const current = key => invocations.getStore()?.[key];
    Object.defineProperty(globalThis, REQUEST_ID, { get: () => current(STORE.REQUEST_ID) });
    Object.defineProperty(globalThis, TENANT_ID, { get: () => current(STORE.TENANT_ID) });
    if (noGlobal)
        return;
    globalThis.awslambda.InvokeStore = {
        getContext: () => invocations.getStore(),
        hasContext: () => invocations.getStore() !== undefined,
        get: current,
        set(key, value) {
            if (Object.values(STORE).includes(key))
                throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
            if (!invocations.getStore())
                throw new Error('No context available');
            invocations.getStore()[key] = value;
        },
        run: (context, body) => invocations.run(context, body),
        getRequestId: () => current(STORE.REQUEST_ID) ?? '-',
        getXRayTraceId: () => current(STORE.X_RAY_TRACE_ID),
        getTenantId: () => current(STORE.TENANT_ID),
    };
}

const runtimes = [];
let initialising = true;
let dying = false;

async function die(error, code, channel) {
    if (dying)
        return;
    dying = true;
    try {
        if (initialising) {
            const body = errorBody(error);
            await channel.post('init/error', `Lambda-Runtime-Function-Error-Type: ${headerValue(body.errorType)}\r\n`, JSON.stringify(body));
        } else if (!invocations) {
            await runtimes[0].die(error);
        } else {
            await invocations.getStore()?.runtime?.die(error);        /* the others end with the process */
        }
    } catch (failure) {
        process.stderr.write(`the error did not reach the Runtime API: ${failure.message}\n`);
    }
    process.exit(code);
}

/* `next` got no event. At the end of an orderly life that is because the Runtime API closed it. */
function workIsOver(why, orderly) {
    if (!stopping && !orderly)
        process.stderr.write(`no next invocation from the Runtime API at ${process.env.AWS_LAMBDA_RUNTIME_API}: ${why}\n`);
    process.exit(stopping || orderly ? 0 : EXIT_EXCEPTION);
}

function leaveWhenIdle() {
    if (runtimes.every(runtime => runtime.id === undefined))
        Promise.all(runtimes.map(runtime => runtime.last)).then(() => process.exit(0));
}

/* What is running may end; then the process does. A function with a SIGTERM listener of its own says itself when. */
function terminate() {
    stopping = true;
    if (process.listenerCount('SIGTERM') === 1)
        leaveWhenIdle();
}

async function main() {
    patchConsole();
    const channel = new Channel(process.env.AWS_LAMBDA_RUNTIME_API ?? '');
    process.on('uncaughtException', error => {
        logError('Uncaught Exception', error);
        die(error, EXIT_EXCEPTION, channel);
    });
    process.on('unhandledRejection', (reason, promise) => {
        const error = new UnhandledPromiseRejection(reason, promise);
        logError('Unhandled Promise Rejection', error);
        die(error, EXIT_REJECTION, channel);
    });
    process.on('beforeExit', () => onLoopEmpty());
    process.on('SIGTERM', terminate);

    offerGlobal();
    if (invocations)
        offerStore();
    let loaded;
    try {
        loaded = await loadHandler(process.env.LAMBDA_TASK_ROOT ?? process.cwd(), process.env._HANDLER ?? process.argv[2] ?? '');
    } catch (error) {
        logError('Uncaught Exception', error);
        await die(error, EXIT_EXCEPTION, channel);
        return;
    }
    if (dying || stopping)
        return stopping && process.exit(0);
    initialising = false;
    for (let i = 0; i < concurrency; i++)
        runtimes.push(new Runtime(i === 0 ? channel : new Channel(channel.address), loaded));
    for (const runtime of runtimes)
        runtime.next();
}

main();
