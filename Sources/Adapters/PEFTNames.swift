/// The names that adapter directories use on disk: files, tensor keys and fields, as peft 0.21 has them, and tspeft's
/// own beside them.
package enum PEFTNames {
    /// Configuration of the adapter, JSON.
    package static let configurationFile = "adapter_config.json"
    /// Tensors of the adapter.
    package static let tensorFile = "adapter_model.safetensors"
    /// Tensors as peft wrote them before safetensors: a Python pickle, which is never opened.
    package static let pickleFile = "adapter_model.bin"
    /// The model card.
    package static let modelCardFile = "README.md"
    /// What tspeft records beside peft's files: base, training, statistics. JSON.
    package static let recordFile = "tspeft.json"
    /// Histograms and inner sums of the statistics.
    package static let statisticsFile = "tspeft_statistics.safetensors"

    /// What every adapter tensor's key begins with: peft's two wrappers around the model.
    package static let prefix = "base_model.model."
    /// LoRA's A, [rank, inputSize].
    package static let loraA = ".lora_A.weight"
    /// LoRA's B, [outputSize, rank].
    package static let loraB = ".lora_B.weight"
    /// The bias of LoRA's B, [outputSize], of peft's `lora_bias`.
    package static let loraBias = ".lora_B.bias"
    /// DoRA's lengths of the weight's rows, [outputSize].
    package static let magnitude = ".lora_magnitude_vector"
    /// AdaLoRA's A, [rank, inputSize].
    package static let adaLoRAA = ".lora_A"
    /// AdaLoRA's B, [outputSize, rank].
    package static let adaLoRAB = ".lora_B"
    /// AdaLoRA's singular values, [rank, 1].
    package static let adaLoRAE = ".lora_E"
    /// A parallel adapter's way in, [size, inputSize].
    package static let adapterDown = ".adapter_down.weight"
    /// Its bias, [size].
    package static let adapterDownBias = ".adapter_down.bias"
    /// A parallel adapter's way out, [outputSize, size].
    package static let adapterUp = ".adapter_up.weight"
    /// Its bias, [outputSize].
    package static let adapterUpBias = ".adapter_up.bias"
    /// VeRA's d, [rank].
    package static let veraD = ".vera_lambda_d"
    /// VeRA's b, [outputSize].
    package static let veraB = ".vera_lambda_b"
    /// VeRA's shared A', [rank, largest inputSize]; a whole key.
    package static let sharedA = "base_model.vera_A"
    /// VeRA's shared B', [largest outputSize, rank]; a whole key.
    package static let sharedB = "base_model.vera_B"
    /// The weight of a layer that is saved whole, in the layer's own shape.
    package static let weight = ".weight"
    /// The bias of a layer that is saved whole, [outputSize].
    package static let bias = ".bias"
    /// The wrapper around a layer that is trained whole; it may stand in the keys of a raw state dict.
    private static let modulesToSave = ".modules_to_save"
    /// A gate's threshold, [1], F32; tspeft's own.
    package static let tau = ".tau"

    /// The field of modules that are left out.
    package static let excludedField = "exclude_modules"
    /// The field of the layers to which targets are restricted.
    package static let layersField = "layers_to_transform"

    /// What `peft_type` of a gated adapter begins with, so that peft refuses it instead of running it dense.
    package static let gatedPrefix = "TS_"

    /// Statistics tensors: histogram of r, I64 [ModuleStatistics.binCount].
    package static let histogram = ".ratio_histogram"
    /// Statistics tensors: sum z z', F64 [rank, rank].
    package static let innerSums = ".inner_sums"
    /// Statistics tensors: sum S z z', F64 [rank, rank].
    package static let activeInnerSums = ".active_inner_sums"

    /// The key of the tensor `suffix` of `module`, such as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
    package static func key(_ module: String, _ suffix: String) -> String { prefix + module + suffix }

    /// What peft calls an adapter that is given no name; it may stand in the keys of a raw state dict.
    private static let adapterName = ".default"

    /// The key that peft 0.21 writes for what `key` names: without the adapter's name, which a raw state dict has in it
    /// (`.lora_A.default.weight`), with DoRA's magnitude by its parameter's name (not `.lora_magnitude_vector.weight`),
    /// and with the prefix once. A key that is none of an adapter's, by `suffixes` and `shared`, stays as it is.
    static func written(_ key: String, suffixes: [String], shared: Set<String> = []) -> String {
        if key.hasSuffix(adapterName), shared.contains(String(key.dropLast(adapterName.count))) {
            return String(key.dropLast(adapterName.count))
        }
        var known = suffixes.map { (found: $0, written: $0) }
        for suffix in suffixes {
            let end = [weight, bias].first { suffix.hasSuffix($0) } ?? ""
            known.append((suffix.dropLast(end.count) + adapterName + end, suffix))
        }
        if suffixes.contains(magnitude) {
            known += [magnitude + weight, magnitude + adapterName + weight].map { ($0, magnitude) }
        }
        known.append((modulesToSave + adapterName + weight, weight))
        known.append((modulesToSave + adapterName + bias, bias))
        guard let suffix = known.first(where: { key.hasSuffix($0.found) }) else { return key }
        var module = key.dropLast(suffix.found.count)
        while module.hasPrefix(prefix) { module = module.dropFirst(prefix.count) }
        return self.key(String(module), suffix.written)
    }

    /// The module and the suffix of `key`, where it has the prefix and ends in one of `suffixes`.
    package static func split(_ key: String, suffixes: [String]) -> (module: String, suffix: String)? {
        guard key.hasPrefix(prefix) else { return nil }
        let rest = key.dropFirst(prefix.count)
        for suffix in suffixes where rest.hasSuffix(suffix) && rest.count > suffix.count {
            return (String(rest.dropLast(suffix.count)), suffix)
        }
        return nil
    }
}
