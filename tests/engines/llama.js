// llama.cpp by node-llama-cpp's addon, with nothing of ours: maps a GGUF file and generates tokens, always
// the likeliest. Prints a line for each: the token, the milliseconds that it took, and the milliseconds since
// 1970 when it was there.
//     node llama.js ADDON FILE TOKENS [THREADS [text]]
// With random weights it soon repeats one token. With "text" it reads a text instead, always the same one:
// 2,000 words that are as frequent as those of a language, the n-th in proportion to 1 / n (Zipf).
const { dirname } = require("path");
const [, , addonPath, file, count, threads = 2, text] = process.argv;
const addon = require(addonPath);
let state = 1;

function nextWord() {
    state = state * 48271 % 2147483647; // Park and Miller's generator
    return Math.floor(2000 ** (state / 2147483647));
}

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
    const context = new addon.AddonContext(model, { contextSize: 256, batchSize: 32, sequences: 1,
        threads: Number(threads) });
    if (!await context.init())
        throw new Error("no context");
    const sampler = new addon.AddonSampler(model);
    sampler.applyConfig({ temperature: 0 });
    let input = [1, 17, 42, 1000], position = 0;
    for (let i = 0; i < count; i++) {
        const begin = performance.now();
        context.initBatch(input.length);
        const [place] = context.addToBatch(0, position, Uint32Array.from(input),
            Uint32Array.from([input.length - 1]));
        await context.decodeBatch();
        const token = await context.sampleToken(place, sampler);
        const end = performance.now();
        console.log(token, (end - begin).toFixed(3), (performance.timeOrigin + end).toFixed(3));
        position += input.length;
        input = [text ? nextWord() : token];
    }
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
