process.on('SIGTERM', () => { console.log('own SIGTERM'); setTimeout(() => process.exit(7), 20); });
exports.handler = async () => 'ready';
