console.log('loading'); console.error('still loading'); exports.handler = async () => 'loaded';
