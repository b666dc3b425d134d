import CheckpointIO
import Compute
import TensorCore

/// What a model takes pictures by.
package struct ImageFacts: Sendable, Equatable {
    /// The token that stands for a part of a picture.
    package let token: Int32
    /// How many of these tokens a picture has.
    package let tokenCount: Int
    /// Height and width of a picture, pixels.
    package let side: Int
    /// Height and width of what a patch covers, pixels.
    package let patchSize: Int
    /// Whether the class token's state is left out (`vision_feature_select_strategy` is `default`).
    package let dropsClass: Bool

    /// How many numbers a picture is: three for each pixel, [3, side, side].
    package var valueCount: Int { 3 * side * side }
}

/// LLaVA-1.5 (Liu et al., "Improved Baselines with Visual Instruction Tuning", arXiv 2310.03744) beside its language model:
/// a CLIP tower whose patches become tokens by a projector of two layers.
///
/// A `TextPart` with more: the checkpoint goes by its own names, the language model is any that the table has, and tokens of
/// pictures are tokens like others to it.
struct LLaVA: Sendable, Equatable {
    static let modelType = "llava"
    static let className = "LlavaForConditionalGeneration"

    let tower: CLIPConfiguration
    let facts: ImageFacts
    /// Layers of the tower that are computed: features are the states behind them.
    let layerCount: Int
    let activation: HiddenActivation
    let hasProjectorBias: Bool
    /// Width of the language model's stream.
    let hiddenSize: Int

    /// Reads the members of `config.json` beside `text_config`. Throws `ModelError.badConfiguration` and
    /// `.unsupportedConfiguration`.
    init(_ json: JSONValue, file: String, hiddenSize: Int) throws(ModelError) {
        let fields = JSONConfigurationFields(file: file, value: json)
        tower = try CLIPConfiguration(fields)
        self.hiddenSize = hiddenSize
        let strategy = try fields.string("vision_feature_select_strategy") ?? "default"
        guard ["default", "full"].contains(strategy) else {
            throw fields.unsupported("vision_feature_select_strategy", "'\(strategy)'", "'default' and 'full'")
        }
        let key = "vision_feature_layer"
        let member = fields.member(key) ?? .integer(-2)
        let states = tower.layerCount + 1
        guard let layer = member.integer(in: -states...states - 1) else {
            throw member.arrayValue == nil
                ? fields.bad(
                    key, "one of the \(states) states of the tower, from the first 0 or the last -1", member.text())
                : fields.unsupported(key, member.text(), "one layer")
        }
        layerCount = layer < 0 ? states + layer : layer
        let activationKey = "projector_hidden_act"
        let name = try fields.string(activationKey) ?? "gelu"
        guard let activation = HiddenActivation(name: name) else {
            throw fields.unsupported(activationKey, "'\(name)'", HiddenActivation.names.joined(separator: ", "))
        }
        self.activation = activation
        hasProjectorBias = try fields.flag("multimodal_projector_bias") ?? true
        let tokenKey = fields.isPresent("image_token_index") ? "image_token_index" : "image_token_id"
        let token = try fields.tokenIDs(tokenKey).first.flatMap(Int32.init(exactly:)) ?? 32_000
        facts = ImageFacts(
            token: token, tokenCount: tower.patchCount + (strategy == "full" ? 1 : 0), side: tower.imageSize,
            patchSize: tower.patchSize, dropsClass: strategy == "default")
    }

    /// What the projector's layers are called.
    static let projector = "multi_modal_projector"
    static let projectorLayers = ["linear_1", "linear_2"]

    /// Every tensor of tower and projector that is read, by name inside the checkpoint's own prefixes, with its shape.
    func tensors(_ names: LLaVANames) -> [(name: String, shape: [Int])] {
        var all = tower.tensors(layers: layerCount).map { (names.tower + $0.name, $0.shape) }
        for (layer, width) in zip(Self.projectorLayers, [tower.hiddenSize, hiddenSize]) {
            let module = names.projector + layer
            all.append((CheckpointNames.weight(of: module), [hiddenSize, width]))
            if hasProjectorBias { all.append((CheckpointNames.bias(of: module), [hiddenSize])) }
        }
        return all
    }
}

/// What a checkpoint's names of tower and projector begin with: transformers has changed its mind several times.
struct LLaVANames: Sendable, Equatable {
    let tower: String
    let projector: String

    private static let towers = [
        "vision_tower.vision_model.", "vision_tower.", "model.vision_tower.vision_model.", "model.vision_tower.",
    ]
    private static let projectors = ["\(LLaVA.projector).", "model.\(LLaVA.projector)."]

    /// The names of a checkpoint; the first of each where it has none.
    init(_ checkpoint: Checkpoint) {
        func first(_ names: [String], with tensor: String) -> String {
            names.first { checkpoint.record($0 + tensor) != nil } ?? names[0]
        }
        tower = first(Self.towers, with: CLIPConfiguration.classEmbedding)
        projector = first(Self.projectors, with: CheckpointNames.weight(of: LLaVA.projectorLayers[0]))
    }
}
