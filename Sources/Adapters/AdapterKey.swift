/// What a key of an adapter's file means, freed of what wrappers around the model or the layer left in it.
///
/// Keys as peft 0.21 writes them come out as they are. Raw state dicts have the adapter's name in them
/// (`.lora_A.default.weight`), compiled and distributed models a wrapper's (`_orig_mod.`, `module.`), and some programs
/// leave peft's own prefix out or have it twice.
struct AdapterKey: Sendable, Equatable {
    /// What a tensor is to its module.
    enum Part: Sendable, Equatable {
        /// One of the method's own tensors, by the end of the key as peft writes it, such as `.lora_A.weight`.
        case factor(suffix: String)
        /// A tensor of the model itself, `weight` or `bias` or another of the module's: its value after training.
        case value(name: String)
        /// What a module that was trained whole had before: `weight`, `bias`.
        case original(name: String)
        /// Rows of an embedding, those of `trainable_token_indices`.
        case tokenRows
    }

    /// The module's path in the model.
    let path: String
    /// What the tensor is to it.
    let part: Part
    /// Whether it is of the output projection inside torch's MultiheadAttention that has an adapter as a whole.
    let isAttentionOutput: Bool

    /// Whether it is a tensor of the model's own, after training or before.
    var isOfModel: Bool {
        switch part {
        case .value, .original: true
        case .factor, .tokenRows: false
        }
    }

    /// The key that peft 0.21 writes for it.
    var written: String {
        switch part {
        case .factor(let suffix): PEFTNames.key(path, suffix)
        case .value(let name): PEFTNames.key(path, "." + name)
        case .original(let name): PEFTNames.key(path, Self.originalModule + name)
        case .tokenRows: PEFTNames.key(path, Self.tokenRowsSuffix)
        }
    }

    /// What stands before the name of what a module was before it was trained whole.
    private static let originalModule = ".original_module."
    private static let tokenRowsSuffix = ".token_adapter.trainable_tokens_delta"

    /// Parts of a path by which wrappers around a model or a layer go, wherever they stand.
    private static let wrappers: Set<Substring> = [
        "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
    ]
    /// The wrapper of data-parallel training, which stands before everything else.
    private static let outerWrapper: Substring = "module"
    /// The wrapper of a layer that has an adapter.
    private static let baseLayer: Substring = "base_layer"

    /// The layer inside torch's MultiheadAttention that peft wraps by itself.
    private static let attentionOutput: Substring = "out_proj"

    /// The first parts of what methods call their tensors: what comes behind one is the adapter's name, `weight` or
    /// `bias`.
    private static let factors: Set<Substring> = [
        "lora_A", "lora_B", "lora_E", "lora_magnitude_vector", "lora_embedding_A", "lora_embedding_B", "vera_lambda_d",
        "vera_lambda_b", "ia3_l", "adapter_down", "adapter_up", "tau",
    ]
    /// Factors whose `weight` peft leaves out.
    private static let bareFactors: Set<Substring> = [
        "lora_magnitude_vector", "lora_embedding_A", "lora_embedding_B", "ia3_l",
    ]
    private static let tokenRows: Set<Substring> = ["token_adapter", "trainable_tokens_delta"]

    init(_ key: String) {
        // By bytes: by characters it takes several times as long, and files have many thousand keys.
        let bytes = key.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        var parts = Self.withoutPrefix(bytes.map { Substring($0) }[...])
        parts.removeAll(where: Self.wrappers.contains)
        isAttentionOutput =
            parts.firstIndex(of: Self.baseLayer).map { parts[$0...].contains(Self.attentionOutput) } ?? false
        if let place = parts.firstIndex(where: Self.factors.contains) {
            part = .factor(suffix: Self.suffix(parts[place], behind: parts[(place + 1)...]))
            path = Self.joined(Self.withoutInnerLayers(parts[..<place]))
        } else if let place = parts.firstIndex(where: Self.tokenRows.contains) {
            part = parts.last == "weight" ? .value(name: "weight") : .tokenRows
            path = Self.joined(parts[..<place].filter { $0 != Self.baseLayer }[...])
        } else if let place = parts.firstIndex(where: { $0 == "modules_to_save" || $0 == "original_module" }),
            let name = parts.last
        {
            var inner = parts[(place + 1)...].dropLast()
            if inner.first == Self.adapterName { inner = inner.dropFirst() }
            path = Self.joined(parts[..<place] + inner)
            part = parts[place] == "modules_to_save" ? .value(name: String(name)) : .original(name: String(name))
        } else {
            let own = parts.filter { $0 != Self.baseLayer }
            path = Self.joined(own.dropLast())
            part = .value(name: String(own.last ?? ""))
        }
    }

    /// The parts of a key behind peft's two wrappers of the model and those of data-parallel training.
    private static func withoutPrefix(_ parts: ArraySlice<Substring>) -> ArraySlice<Substring> {
        var rest = parts
        while true {
            if rest.starts(with: ["base_model", "model"]) {
                rest = rest.dropFirst(2)
            } else if rest.first == outerWrapper, rest.count > 2 {
                rest = rest.dropFirst()
            } else if let first = rest.first, wrappers.contains(first) {
                rest = rest.dropFirst()
            } else {
                return rest
            }
        }
    }

    /// A path without wrappers of layers that stand inside it; one at the end is kept, since it tells two adapters of
    /// one module apart.
    private static func withoutInnerLayers(_ parts: ArraySlice<Substring>) -> ArraySlice<Substring> {
        let inner = parts.dropLast().filter { $0 != baseLayer }
        return inner[...] + parts.suffix(1)
    }

    /// What peft calls an adapter that is given no name; it may stand in the keys of a raw state dict.
    private static let adapterName: Substring = "default"

    private static func suffix(_ factor: Substring, behind: ArraySlice<Substring>) -> String {
        let rest = behind.first == adapterName ? behind.dropFirst() : behind
        if rest.isEmpty || bareFactors.contains(factor) && rest == ["weight"] { return ".\(factor)" }
        return ".\(factor).\(joined(rest))"
    }

    private static func joined(_ parts: ArraySlice<Substring>) -> String { parts.joined(separator: ".") }
}
