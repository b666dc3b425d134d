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
    /// LoRA's A of an embedding, [rank, vocabularySize].
    package static let embeddingA = ".lora_embedding_A"
    /// LoRA's B of an embedding, [width, rank].
    package static let embeddingB = ".lora_embedding_B"
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
    /// A gate's threshold, [1], F32; tspeft's own.
    package static let tau = ".tau"

    /// The field of modules that are left out.
    package static let excludedField = "exclude_modules"
    /// The field of the layers to which targets are restricted.
    package static let layersField = "layers_to_transform"
    /// The field of a configuration that says that the wrapped weights are stored as [inputSize, outputSize]. peft asks
    /// the layer's class and only warns where the field is wrong.
    package static let fanInFanOut = "fan_in_fan_out"

    /// The field of parameters that have an update of their own, such as `experts.gate_up_proj`.
    package static let parametersField = "target_parameters"
    /// The field of tokens whose rows of an embedding are trained.
    package static let tokensField = "trainable_token_indices"

    /// The field of the version of peft that wrote a configuration; 0.18 is the first that does.
    package static let versionField = "peft_version"

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
