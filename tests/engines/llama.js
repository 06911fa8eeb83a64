// llama.cpp by node-llama-cpp's addon, with nothing of ours: maps a GGUF file and generates tokens, always
// the likeliest. Prints a line of JSON: the tokens, and the milliseconds that each took.
//     node llama.js ADDON FILE TOKENS
const { dirname } = require("path");
const [, , addonPath, file, count] = process.argv;
const addon = require(addonPath);

async function main() {
    addon.markLoaded();
    addon.setLogger(() => {});
    addon.loadBackends();
    if (!addon.getGpuType())
        addon.loadBackends(dirname(addonPath));
    await addon.init();
    const model = new addon.AddonModel(file, { addonExports: addon, gpuLayers: 0, useMmap: true });
    if (!await model.init())
        throw new Error("cannot load " + file);
    const context = new addon.AddonContext(model, { contextSize: 256, batchSize: 32, sequences: 1, threads: 2 });
    if (!await context.init())
        throw new Error("no context");
    const sampler = new addon.AddonSampler(model);
    sampler.applyConfig({ temperature: 0 });
    const tokens = [], milliseconds = [];
    let input = [1, 17, 42, 1000], position = 0;
    for (let i = 0; i < count; i++) {
        const begin = process.hrtime.bigint();
        context.initBatch(input.length);
        const [place] = context.addToBatch(0, position, Uint32Array.from(input),
            Uint32Array.from([input.length - 1]));
        await context.decodeBatch();
        const token = await context.sampleToken(place, sampler);
        milliseconds.push(Number(process.hrtime.bigint() - begin) / 1e6);
        tokens.push(token);
        position += input.length;
        input = [token];
    }
    console.log(JSON.stringify({ tokens, milliseconds }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
