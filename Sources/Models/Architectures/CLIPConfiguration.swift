import CheckpointIO
import Compute

/// The sizes of a CLIP vision tower (Radford et al., "Learning Transferable Visual Models From Natural Language
/// Supervision", arXiv 2103.00020), as `vision_config` tells them.
struct CLIPConfiguration: Sendable, Equatable {
    let hiddenSize: Int
    let intermediateSize: Int
    let layerCount: Int
    let headCount: Int
    /// Height and width of a picture, pixels.
    let imageSize: Int
    /// Height and width of a patch, pixels.
    let patchSize: Int
    let activation: HiddenActivation
    let normEpsilon: Float

    /// Patches of a picture.
    var patchCount: Int { (imageSize / patchSize) * (imageSize / patchSize) }

    /// The tower of LLaVA-1.5, which transformers assumes where there is no `vision_config`.
    private static let assumedTower: JSONObject = [
        "hidden_size": .integer(1024), "intermediate_size": .integer(4096), "num_hidden_layers": .integer(24),
        "num_attention_heads": .integer(16), "image_size": .integer(336), "patch_size": .integer(14),
    ]

    /// Reads `vision_config` of a model's `config.json`. Throws `ModelError.badConfiguration` and
    /// `.unsupportedConfiguration`.
    init(_ model: JSONConfigurationFields) throws(ModelError) {
        let section = "vision_config"
        let fields =
            model.isPresent(section)
            ? try model.object(section)
            : JSONConfigurationFields(file: model.file, value: .object(Self.assumedTower))
        let type = try fields.string("model_type") ?? "clip_vision_model"
        guard type == "clip_vision_model" else {
            throw fields.unsupported("model_type", "'\(type)'", "'clip_vision_model'")
        }
        hiddenSize = try fields.positiveInteger("hidden_size") ?? 768
        intermediateSize = try fields.positiveInteger("intermediate_size") ?? 3072
        layerCount = try fields.positiveInteger("num_hidden_layers") ?? 12
        headCount = try fields.positiveInteger("num_attention_heads") ?? 12
        imageSize = try fields.positiveInteger("image_size") ?? 224
        patchSize = try fields.positiveInteger("patch_size") ?? 32
        normEpsilon = Float(try fields.positiveNumber("layer_norm_eps") ?? 1e-5)
        guard hiddenSize % headCount == 0 else {
            throw fields.bad("num_attention_heads", "a divisor of hidden_size, \(hiddenSize)", "\(headCount)")
        }
        // So that a picture's numbers can be counted, and no tower is larger than any that there is.
        guard imageSize <= 1 << 14, patchSize <= imageSize else {
            throw fields.bad("image_size", "at least a patch's \(patchSize) pixels and at most 16384", "\(imageSize)")
        }
        let channels = try fields.positiveInteger("num_channels") ?? 3
        guard channels == 3 else { throw fields.unsupported("num_channels", "\(channels)", "3: red, green and blue") }
        if let dropout = fields.member("attention_dropout")?.doubleValue, dropout != 0 {
            throw fields.unsupported("attention_dropout", "\(dropout)", "a tower without dropout")
        }
        let name = try fields.string("hidden_act") ?? "quick_gelu"
        guard let activation = HiddenActivation(name: name) else {
            throw fields.unsupported("hidden_act", "'\(name)'", HiddenActivation.names.joined(separator: ", "))
        }
        self.activation = activation
    }

    static let classEmbedding = "embeddings.class_embedding"
    static let patchEmbedding = "embeddings.patch_embedding"
    static let positionEmbedding = "embeddings.position_embedding"
    /// As it is spelled in all checkpoints.
    static let firstNorm = "pre_layrnorm"

    /// What stands before the names of a layer.
    static func layer(_ index: Int) -> String { "encoder.layers.\(index)." }

    /// The tensors that are read, with their shapes: those of the first `layers` layers, which features are taken behind.
    func tensors(layers: Int) -> [(name: String, shape: [Int])] {
        let weight = CheckpointNames.weight(of:)
        var all: [(String, [Int])] = [
            (Self.classEmbedding, [hiddenSize]),
            (weight(Self.patchEmbedding), [hiddenSize, 3, patchSize, patchSize]),
            (weight(Self.positionEmbedding), [patchCount + 1, hiddenSize]),
        ]
        func add(_ module: String, _ shape: [Int]) {
            all += [(weight(module), shape), (CheckpointNames.bias(of: module), [shape[0]])]
        }
        add(Self.firstNorm, [hiddenSize])
        for layer in (0..<layers).map(Self.layer) {
            for norm in ["layer_norm1", "layer_norm2"] { add(layer + norm, [hiddenSize]) }
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                add(layer + "self_attn." + part, [hiddenSize, hiddenSize])
            }
            add(layer + "mlp.fc1", [intermediateSize, hiddenSize])
            add(layer + "mlp.fc2", [hiddenSize, intermediateSize])
        }
        return all
    }
}
