import CheckpointIO

/// Sliding windows as Qwen2 and the models after it tell them in `config.json`.
extension ModelFields {
    /// Refuses a model of which a layer slides: by `use_sliding_window`, then the layers from `max_window_layers` on, or
    /// by `layer_types`, which goes first where both are there. A window that no sequence outgrows is none.
    ///
    /// - Parameter assumedWindow: the window that transformers assumes where `config.json` is silent.
    func refuseSlidingLayers(
        layerCount: Int, maximumPositions: Int, assumedWindow: Int, assumedFirstLayer: Int
    ) throws(ModelError) {
        guard let json else { return }
        let types = json.member("layer_types")?.arrayValue?.map(\.stringValue)
        if let odd = types?.first(where: { $0 != "full_attention" && $0 != "sliding_attention" }) {
            throw json.unsupported("layer_types", odd.map { "'\($0)'" } ?? "no list of names", "full_attention")
        }
        let key = "sliding_window"
        let window = try json.hasKey(key) ? json.positiveInteger(key) : assumedWindow
        let isUsed = try json.flag("use_sliding_window") ?? false
        if let types {
            guard types.contains("sliding_attention"), !isUsed || (window ?? .max) < maximumPositions else { return }
            throw json.unsupported("layer_types", "'sliding_attention' for some layers", "full_attention for all")
        }
        guard isUsed, let window, window < maximumPositions else { return }
        let first = try json.positiveIntegerOrZero("max_window_layers") ?? assumedFirstLayer
        guard first < layerCount else { return }
        throw json.unsupported(
            "use_sliding_window", "true with a window of \(window) from layer \(first) on", "models without a window")
    }
}
