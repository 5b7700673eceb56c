exports.handler = async () => 'nested file';
