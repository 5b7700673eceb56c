process.on('exit', code => { console.log('exit ' + code); });
exports.handler = async () => 'ready';
