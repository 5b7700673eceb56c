// What tests ask of a function, by event.do. The same in each language here.
exports.handler = async event => {
    switch (event.do) {
    case 'fail': throw new Error('failed as asked');
    case 'exit': return process.exit(event.code);
    case 'large': return 'x'.repeat(event.size);
    case 'sleep': return new Promise(resolve => setTimeout(resolve, event.ms, 'slept'));
    default: return event;
    }
};
