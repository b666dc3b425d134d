/// Components of names that say where in a model something lies, not what it is.
enum NameWords {
    /// Wrappers that mean nothing: a model with and without them is the same.
    static let neutral: Set<Substring> = ["model", "transformer", "language_model", "llm", "module", "base_model"]
    /// Names of a tower of pictures.
    static let vision: Set<Substring> = [
        "visual", "vision_tower", "vision_model", "vision_encoder", "image_encoder", "vision_backbone", "vision",
    ]
    /// Names of a tower of sound.
    static let audio: Set<Substring> = ["audio_tower", "audio_model", "audio_encoder", "speech_encoder", "audio"]
    /// Names of the text tower of a model with two towers of equal standing.
    static let text: Set<Substring> = ["text_model", "text_encoder", "text"]
    /// Halves of a model that both have layers.
    static let halves: Set<Substring> = ["encoder", "decoder"]
    /// Further prediction heads' layers: never a model's own, though they have the same names.
    static let auxiliary: Set<Substring> = ["mtp", "mtp_layers", "nextn", "mtp_block"]
    /// Modules that a model for classification has beside its body.
    static let classifiers: Set<Substring> = [
        "score", "classifier", "classification_head", "qa_outputs", "pre_classifier", "seq_relationship", "logits_proj",
        "sequence_summary", "pooler", "summary", "multiple_choice_head", "head", "v_head",
    ]
    /// What the classes of models with an output head end in.
    static let headedClasses = [
        "ForCausalLM", "LMHeadModel", "LMHead", "ForConditionalGeneration", "ForMaskedLM", "ForPreTraining",
        "ForImageTextToText", "ForSeq2SeqLM", "DoubleHeadsModel",
    ]
    /// What the classes of models without an output head over tokens end in.
    private static let headlessClasses = [
        "Model", "Encoder", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
        "ForQuestionAnsweringSimple", "ForMultipleChoice", "ForNextSentencePrediction", "ForImageClassification",
        "ForAudioClassification", "ForObjectDetection", "ForImageTextRetrieval", "ForRetrieval", "WithProjection",
    ]
    /// Models of two halves, whose classes end in `Model` too.
    private static let wholeModels = ["EncoderDecoderModel", "SeamlessM4TModel", "SeamlessM4Tv2Model"]

    /// Whether the models of a class have no output head over tokens for sure.
    static func isHeadless(_ className: String) -> Bool {
        headlessClasses.contains { className.hasSuffix($0) }
            && !(headedClasses + wholeModels).contains { className.hasSuffix($0) }
    }

    /// Names of output heads that can be tied to an embedding.
    static let heads: Set<Substring> = [
        "lm_head", "embed_out", "proj_out", "output_projection", "generator_lm_head", "decoder_lm_head", "head",
    ]

    /// What models call their body, and so what a bare model's names lack; a body of this name is one of a model type that
    /// has this word, or is in the list.
    static let bodies: [Substring: Set<String>] = [
        "bert": ["nezha", "bert-generation"],
        "roberta": ["camembert", "xlm-roberta", "xlm-roberta-xl", "data2vec-text"],
        "electra": [], "deberta": ["deberta-v2"], "distilbert": [], "albert": [], "mobilebert": [], "convbert": [],
        "squeezebert": [], "megatron": [], "funnel": [], "xlnet": [], "longformer": [], "big_bird": [], "esm": [],
        "rembert": ["rembert"], "mpnet": [], "layoutlm": [], "layoutlmv3": [], "ernie": [], "luke": [], "flaubert": [],
        "vit": ["vit", "vit_mae", "vit_msn", "ijepa"], "deit": [], "beit": ["data2vec-vision"],
        "dinov2": ["dinov2_with_registers"],
        "swin": [], "swinv2": [], "convnext": [], "convnextv2": [], "segformer": [], "poolformer": [], "cvt": [],
        "regnet": [], "resnet": [], "mobilevit": [], "levit": [], "vivit": [], "videomae": [], "yolos": [], "pvt": [],
        "gpt_neox": [], "rwkv": [], "wav2vec2": [], "hubert": [], "wavlm": [], "data2vec_audio": ["data2vec-audio"],
        "unispeech": [], "audio_spectrogram_transformer": ["audio-spectrogram-transformer"], "clap": [], "sew": [],
    ]

    /// Whether `word` is what another kind of model than `modelType` calls its body.
    static func isForeignBody(_ word: Substring, modelType: String?) -> Bool {
        guard let modelType, let types = bodies[word] else { return false }
        let plain = modelType.replacing("-", with: "_")
        return !(plain == word || types.contains(modelType) || plain.split(separator: "_").contains(word))
    }

    /// A prefix without neutral words, towers by one name each.
    static func reduced(_ components: some Sequence<Substring>) -> [Substring] {
        var out: [Substring] = []
        for component in components where !neutral.contains(component) {
            let word: Substring =
                vision.contains(component)
                ? "vision" : audio.contains(component) ? "audio" : text.contains(component) ? "text" : component
            // A tower within a tower's wrapper is one tower.
            if word == out.last, word == "vision" || word == "audio" || word == "text" { continue }
            out.append(word)
        }
        return out
    }

    /// Whether any component says where in a whole model something lies.
    static func namePart(_ components: some Sequence<Substring>) -> Bool {
        components.contains { neutral.contains($0) || isTower($0) }
    }

    /// Whether a component names a tower.
    static func isTower(_ word: Substring) -> Bool {
        vision.contains(word) || audio.contains(word) || text.contains(word)
    }

    /// Whether a model type is that of a tower of pictures or sound by itself.
    static func isTowerType(_ modelType: String?) -> Bool {
        guard let modelType else { return false }
        return modelType.contains("vision") || modelType.contains("audio")
    }
}
