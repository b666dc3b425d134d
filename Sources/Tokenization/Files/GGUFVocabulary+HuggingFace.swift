import CheckpointIO
import TensorCore

/// Making the vocabulary of a GGUF file from the tokenizer of a Hugging Face directory.
extension GGUFVocabulary {
    /// The tokenizer of `directory` as a GGUF file has it, with what that cannot hold in `losses`.
    ///
    /// - Parameters:
    ///   - vocabularySize: rows of the model's embedding; ids without a token get one called `[PAD<id>]`, as llama.cpp
    ///     has it.
    ///   - configuration: the model's `config.json`, which names special tokens where the tokenizer's files do not.
    ///
    /// Throws what `Tokenizer.load` throws, and `unsupported` for a tokenizer that no name in GGUF stands for: nothing
    /// is guessed, as other words would be other tokens.
    package static func huggingFace(
        directory: String, vocabularySize: Int, configuration: JSONValue?
    ) throws -> (vocabulary: GGUFVocabulary, losses: [String]) {
        // Says what is missing, and what cannot be read.
        let tokenizer = try Tokenizer.load(modelPath: directory)
        let path = joinedPath(directory, "tokenizer.json")
        let json = try Tokenizer.readJSON(path)
        let parts = try TokenizerFile(json, file: path).parts()
        guard parts.tokens.idBound <= vocabularySize else {
            throw TokenizationError.malformed(
                file: path,
                problem:
                    "has ids up to \(parts.tokens.idBound - 1), but the model's embedding has \(vocabularySize) rows")
        }
        var losses: [String] = []
        var vocabulary: GGUFVocabulary
        if let rule = ByteLevelRule(parts) {
            vocabulary = GGUFVocabulary(file: path, model: "gpt2", tokens: [])
            vocabulary.preTokenizer = rule.name
            vocabulary.merges = try mergeTexts(json, file: path)
            vocabulary.fill(parts, vocabularySize: vocabularySize)
        } else if let form = PieceForm(parts, json) {
            vocabulary = GGUFVocabulary(file: path, model: "llama", tokens: [])
            vocabulary.preTokenizer = "default"
            vocabulary.addsSpacePrefix = form.addsSpace
            if form.addsSpaceAtStartOnly {
                losses.append(
                    "GGUF tokenizers put a space before text after a special token too, this one only at the start")
            }
            vocabulary.fill(parts, vocabularySize: vocabularySize)
            vocabulary.scores = try vocabulary.scores(from: mergeTexts(json, file: path))
        } else {
            throw TokenizationError.unsupported(file: path, feature: description(of: parts, json))
        }
        if parts.added.contains(where: { $0.isSingleWord || $0.stripsLeft || $0.stripsRight }) {
            losses.append("'single_word', 'lstrip' and 'rstrip' of added tokens have no place in GGUF")
        }
        try vocabulary.nameSpecialTokens(tokenizer, parts, directory: directory, configuration)
        let ownSettings = try Tokenizer.readOptionalJSON(joinedPath(directory, "tokenizer_config.json"))
        let templates = try ChatTemplateTexts(directory: directory, configuration: ownSettings).forGGUF()
        vocabulary.chatTemplates = templates.texts
        losses += templates.changes
        return (vocabulary, losses)
    }

    // MARK: What the tokenizer is

    /// SentencePiece's way: pieces of characters, spaces written as a mark, bytes for what has no piece.
    private struct PieceForm {
        /// Whether text gets a space before it.
        let addsSpace: Bool
        /// Whether only a text's beginning does, not what follows a special token.
        let addsSpaceAtStartOnly: Bool

        init?(_ parts: TokenizerParts, _ json: JSONValue) {
            guard case .bytePair(let model) = parts.model, !model.ignoresMerges,
                json["model"]?["byte_fallback"]?.boolValue == true
            else { return nil }
            let mark = Array("▁".utf8)
            let replacing = Normalizer.replace([UInt8(ascii: " ")], with: mark)
            switch (parts.normalizers, parts.preTokenizers) {
            case ([.prepend(mark), replacing], []): (addsSpace, addsSpaceAtStartOnly) = (true, false)
            case ([replacing], []): (addsSpace, addsSpaceAtStartOnly) = (false, false)
            case ([], [.metaspace(replacement: mark, prefix: .always, splits: false)]):
                (addsSpace, addsSpaceAtStartOnly) = (true, false)
            case ([], [.metaspace(replacement: mark, prefix: .first, splits: false)]):
                (addsSpace, addsSpaceAtStartOnly) = (true, true)
            case ([], [.metaspace(replacement: mark, prefix: .never, splits: false)]):
                (addsSpace, addsSpaceAtStartOnly) = (false, false)
            default: return nil
            }
        }
    }

    /// What a tokenizer does that has no name in GGUF.
    private static func description(of parts: TokenizerParts, _ json: JSONValue) -> String {
        func names(_ key: String, _ innerKey: String) -> String {
            var steps = json[key].map { [$0] } ?? []
            if let inner = steps.first?[innerKey]?.arrayValue { steps = inner }
            return steps.compactMap { step -> String? in
                guard let type = step["type"]?.stringValue else { return nil }
                return step["pattern"]?["Regex"]?.stringValue.map { "\(type) '\($0)'" } ?? type
            }.joined(separator: ", ")
        }
        let (normalizers, cuts) = (names("normalizer", "normalizers"), names("pre_tokenizer", "pretokenizers"))
        let ignores = json["model"]?["ignore_merges"]?.boolValue == true ? " with ignore_merges" : ""
        let words = cuts.isEmpty ? "no pre-tokenizer" : "the pre-tokenizer \(cuts)"
        let before = normalizers.isEmpty ? "without a normalizer" : "after the normalizer \(normalizers)"
        return "in a GGUF file \(words) \(before)\(ignores)"
    }

    // MARK: Tokens

    /// Texts and types of all tokens up to `vocabularySize`.
    private mutating func fill(_ parts: TokenizerParts, vocabularySize: Int) {
        let added = Dictionary(parts.added.map { (Int($0.id), $0) }, uniquingKeysWith: { first, _ in first })
        let isScored = model == "llama"
        for id in 0..<vocabularySize {
            guard let text = parts.tokens[Int32(id)].map(Array.init) else {
                tokens.append(Array("[PAD\(id)]".utf8))
                types.append(.unused)
                continue
            }
            guard let token = added[id] else {
                tokens.append(text)
                types.append(isScored && Self.isByte(text) ? .byte : .normal)
                continue
            }
            if token.isSpecial || Self.looksSpecial(text) {
                tokens.append(text)
                types.append(.control)
            } else {
                // Such a token is looked for in text as it stands, and here in text whose spaces are marks.
                tokens.append(isScored && token.isNormalized ? Self.withSpaces(text) : text)
                types.append(.userDefined)
            }
        }
    }

    /// `<0x00>` to `<0xFF>`.
    private static func isByte(_ text: [UInt8]) -> Bool {
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return false }
        return text[3...4].allSatisfy { byte in
            let character = Character(Unicode.Scalar(byte))
            return character.isHexDigit
        }
    }

    /// Whether an added token is a control token by its looks, whatever the tokenizer says of it; as llama.cpp judges.
    private static func looksSpecial(_ text: [UInt8]) -> Bool {
        let text = String(decoding: text, as: UTF8.self)
        if ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(text) { return true }
        return text.hasPrefix("<|") && text.hasSuffix("|>") || text.hasPrefix("<｜") && text.hasSuffix("｜>")
            || text.hasPrefix("<unused") && text.hasSuffix(">")
    }

    private static func withSpaces(_ text: [UInt8]) -> [UInt8] {
        let content = TrackedText(bytes: text, offset: 0, isTracked: false)
        return content.replacing(Array("▁".utf8), with: [UInt8(ascii: " ")]).bytes
    }

    // MARK: Merges

    /// The merges as GGUF spells them: two texts with a space between.
    private static func mergeTexts(_ json: JSONValue, file: String) throws(TokenizationError) -> [[UInt8]] {
        var texts: [[UInt8]] = []
        for value in json["model"]?["merges"]?.arrayValue ?? [] {
            let pair = value.arrayValue?.compactMap(\.stringValue) ?? []
            guard let text = value.stringValue ?? (pair.count == 2 ? pair.joined(separator: " ") : nil),
                text.utf8.count(where: { $0 == UInt8(ascii: " ") }) == 1
            else { throw .unsupported(file: file, feature: "in a GGUF file the merge \(value.text())") }
            texts.append(Array(text.utf8))
        }
        return texts
    }

    /// A score for each token, so that merging the pair whose joint token has the highest score is merging by
    /// `merges`: minus the place of the token among those that merges make.
    ///
    /// That is possible where the merges are SentencePiece's: all pairs that give one token stand together, and none is
    /// missing. Throws `unsupported` otherwise.
    private func scores(from merges: [[UInt8]]) throws(TokenizationError) -> [Float] {
        let normal = tokens.indices.filter { types[$0] == .normal }
        let table = try tableForCuts(of: normal, in: "a GGUF file")
        var pairCounts: [Int: Int] = [:]
        var places: [Int: Int] = [:]
        var last = -1
        for merge in merges {
            let text = merge.filter { $0 != UInt8(ascii: " ") }
            // An added token never comes about by merging: it is found before.
            guard let id = table.id(of: text).map({ Int($0) }) else { continue }
            if id != last {
                guard places.updateValue(places.count, forKey: id) == nil else { throw unsuitableMerges(text) }
                last = id
            }
            pairCounts[id, default: 0] += 1
        }
        for id in normal {
            let text = tokens[id]
            let pairs = text.indices.dropFirst().count { cut in
                text[cut] & 0xC0 != 0x80 && table.id(of: text, 0..<cut) != nil
                    && table.id(of: text, cut..<text.count) != nil
            }
            guard pairs == pairCounts[id] ?? 0 else { throw unsuitableMerges(text) }
        }
        let least = -Float(places.count)
        return tokens.indices.map { types[$0] == .normal ? places[$0].map { -Float($0) } ?? least : 0 }
    }

    private func unsuitableMerges(_ text: [UInt8]) -> TokenizationError {
        .unsupported(
            file: file,
            feature: "in a GGUF file byte fallback with merges that no scores of pieces stand for, as those of "
                + "'\(String(decoding: text, as: UTF8.self))',")
    }

    // MARK: Special tokens

    private mutating func nameSpecialTokens(
        _ tokenizer: Tokenizer, _ parts: TokenizerParts, directory: String, _ configuration: JSONValue?
    ) throws {
        let ownSettings = try Tokenizer.readOptionalJSON(joinedPath(directory, "tokenizer_config.json"))
        let map = try Tokenizer.readOptionalJSON(joinedPath(directory, "special_tokens_map.json"))
        func id(_ name: String) -> Int? {
            for value in [ownSettings?["\(name)_token"], map?["\(name)_token"]] {
                guard let text = value?.stringValue ?? value?["content"]?.stringValue else { continue }
                if let id = parts.tokens.id(of: Array(text.utf8)) { return Int(id) }
            }
            return configuration?["\(name)_token_id"]?.integer(in: .tokenIDs).flatMap {
                tokens.indices.contains($0) ? $0 : nil
            }
        }
        bosTokenID = id("bos") ?? parts.frame.prefix.first.map(Int.init)
        eosTokenID = id("eos") ?? parts.frame.suffix.first.map(Int.init)
        unknownTokenID = id("unk")
        paddingTokenID = id("pad")
        if let unknownTokenID, model == "llama" { types[unknownTokenID] = .unknown }
        for (ids, expected, what) in [
            (parts.frame.prefix, bosTokenID, "before"), (parts.frame.suffix, eosTokenID, "after"),
        ] {
            guard ids.isEmpty || ids.map(Int.init) == [expected] else {
                let texts = ids.compactMap { parts.tokens[$0].map { String(decoding: $0, as: UTF8.self) } }
                throw TokenizationError.unsupported(
                    file: file, feature: "in a GGUF file '\(texts.joined())' \(what) a text")
            }
        }
        addsBOS = !parts.frame.prefix.isEmpty
        addsEOS = !parts.frame.suffix.isEmpty
    }
}
