import Foundation
import TestSupport
import Testing

@testable import Data

/// Tables and JSON of labelled records.
@Suite struct LabelledFileTests {
    private func records(
        _ text: String, name: String = "data.tsv", columns: [String]? = nil
    ) throws -> [LabelledRecord] {
        try withTemporaryFolder { folder in
            let path = "\(folder)/\(name)"
            try Foundation.Data(text.utf8).write(to: URL(fileURLWithPath: path))
            return try LabelledFile.records(of: [path], columns: columns)
        }
    }

    /// First text, second, label and line of each record, between bars.
    private func summary(_ text: String, name: String = "data.tsv", columns: [String]? = nil) throws -> [String] {
        try records(text, name: name, columns: columns).map {
            "\($0.first)|\($0.second ?? "-")|\($0.label?.text ?? "-")|\($0.place.line)"
        }
    }

    private func refusal(_ text: String, name: String = "data.tsv", columns: [String]? = nil) throws -> String {
        let error = try #require(throws: DataError.self) { try records(text, name: name, columns: columns) }
        #expect(error.exitStatus == .badData)
        let sentence = error.description
        return String(sentence[(try #require(sentence.range(of: name)?.upperBound))...])
    }

    /// GLUE's files as they come: a head and a line of each, and what the record is.
    static let glue: [(task: String, text: String, record: String)] = [
        ("CoLA", "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tThem rode.\n", "The sailors rode.|-|1|1"),
        ("CoLA, test", "index\tsentence\n0\tBill whistled past.\n", "Bill whistled past.|-|-|2"),
        ("SST-2", "sentence\tlabel\nhide new \"secretions \t0\n", "hide new \"secretions |-|0|2"),
        (
            "MRPC",
            "\u{FEFF}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t70\t71\tAmrozi said \"so\t\"Amrozi said\r\n",
            "Amrozi said \"so|\"Amrozi said|1|2"
        ),
        (
            "QQP", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tHow?\tWhy?\t0\n", "How?|Why?|0|2"
        ),
        ("QQP, test", "id\tquestion1\tquestion2\n0\tHow?\tWhy?\n", "How?|Why?|-|2"),
        (
            "STS-B",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
                + "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t5.000\n",
            "A plane.|An air plane.|5.000|2"
        ),
        (
            "MNLI",
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
                + "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
                + "0\t1\t1n\tgov\t( a )\t( b )\t(A)\t(B)\tCream skims.\tProduct.\tentailment\tneutral\n",
            "Cream skims.|Product.|neutral|2"
        ),
        (
            "MNLI, mismatched",
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
                + "sentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
                + "0\t1\t1n\tletters\t(\t(\t(\t(\tYour gift.\tHundreds.\ta\tb\tc\td\te\tcontradiction\n",
            "Your gift.|Hundreds.|contradiction|2"
        ),
        ("QNLI", "index\tquestion\tsentence\tlabel\n0\tWhen?\tThen.\tentailment\n", "When?|Then.|entailment|2"),
        (
            "RTE", "index\tsentence1\tsentence2\tlabel\n0\tNo.\tYes.\tnot_entailment\n", "No.|Yes.|not_entailment|2"
        ),
    ]

    @Test func gluesFilesAreReadAsTheyCome() throws {
        for (task, text, record) in Self.glue {
            #expect(try summary(text).first == record, "\(task)")
        }
        let paraphrases = Self.glue.first { $0.task == "MRPC" }
        #expect(try summary(try #require(paraphrases).text, name: "msr_paraphrase_train.txt").count == 1)
    }

    @Test func commasAndQuotesAreReadAsTheStandardHasThem() throws {
        let text = "text,label\r\n\"a, \"\"b\"\"\nc\",x\r\nd,\"y\"\n\"\",z\n"
        #expect(try summary(text, name: "data.csv") == ["a, \"b\"\nc|-|x|2", "d|-|y|4", "|-|z|5"])
        #expect(
            try refusal("text,label\na\"b,1\n", name: "data.csv")
                == ", line 2: the row has a quote inside a value that does not begin with one")
        #expect(
            try refusal("text,label\n\"ab,1\n", name: "data.csv")
                == ", line 2: the row begins a value with a quote that nothing closes")
        #expect(
            try refusal("text,label\n\"ab\"c,1\n", name: "data.csv")
                == ", line 2: the row has something behind the quote that closes a value")
    }

    @Test func columnsMayBeNamedByTheCaller() throws {
        #expect(try summary("1\thello\n0\tbye\n", columns: ["label", "text"]) == ["hello|-|1|1", "bye|-|0|2"])
        #expect(
            try summary("x,a,b,1\n", name: "a.csv", columns: ["-", "premise", "hypothesis", "label"]) == ["a|b|1|1"])
        let found = try refusal("1\thello\n0\tbye\n")
        #expect(found.hasPrefix(", line 1: the columns '1', 'hello' hold no text by their names; name them by"))
    }

    @Test func aRowWithAnotherNumberOfColumnsIsRefusedWithItsLine() throws {
        #expect(
            try refusal("sentence\tlabel\na\t1\nb\n")
                == ", line 3: the row has 1 column where there are 2; mend the line or take it out")
        #expect(
            try refusal("sentence\tlabel\na\tb\t1\n")
                == ", line 2: the row has 3 columns where there are 2; mend the line or take it out")
        #expect(
            try refusal("sentence\tlabel\n") == ": no record in it; a JSON array or one JSON object a line is needed")
        #expect(try refusal("only words\n", name: "data").hasSuffix("its lines have no tab and no comma"))
    }

    @Test func jsonRecordsMayHaveLabelsOfAnyKind() throws {
        let text = #"""
            {"sentence": "a", "label": 1}
            {"text": "b", "label": "good"}
            {"premise": "c", "hypothesis": "d", "label": true}
            {"question": "e", "sentence": "f", "label": null}
            {"text": "g", "text2": "h", "label": -1}
            """#
        #expect(
            try summary(text, name: "a.jsonl") == ["a|-|1|1", "b|-|good|2", "c|d|1|3", "e|f|-|4", "g|h|-|5"])
        #expect(
            try refusal(#"{"title": "a"}"#, name: "a.json").hasPrefix(", line 1: the record has the fields 'title';"))
        #expect(
            try refusal(#"{"text": 3}"#, name: "a.json") == ", line 1: the field 'text' is a number; a string is needed"
        )
        #expect(
            try refusal(#"{"text": "a", "label": []}"#, name: "a.json")
                == ", line 1: the field 'label' is a list; a string or a number is needed")
    }

    // MARK: Labels

    private func set(_ labels: [String]) throws -> LabelSet {
        try LabelSet(of: records("sentence\tlabel\n" + labels.map { "a\t\($0)\n" }.joined()), file: "data.tsv")
    }

    @Test func foundLabelsAreSortedAsDatasetsSortsThem() throws {
        #expect(try set(["1", "0", "10", "2"]).names == ["0", "1", "2", "10"])
        #expect(try set(["neutral", "Zebra", "entailment", "neutral"]).names == ["Zebra", "entailment", "neutral"])
        #expect(throws: DataError.fewLabels(file: "data.tsv", only: "1")) { try set(["1", "1"]) }
        let missing = try #require(throws: DataError.self) { try set(["1", "-1"]) }
        #expect(missing.description.hasSuffix("line 3: the record has no label; take data that has one, under 'label'"))
    }

    @Test func aLabelIsAClassByItsNameOrItsNumber() throws {
        let named = try #require(LabelSet(names: ["negative", "positive"]))
        let numbered = try #require(LabelSet(names: ["1", "2"]))
        let found = try records("sentence\tlabel\na\tpositive\nb\t1\nc\t2\nd\t1.0\ne\tgood\n")
        #expect(try found.prefix(2).map(named.index(of:)) == [1, 1])
        #expect(try named.index(of: found[3]) == 1)
        #expect(try [found[1], found[2], found[3]].map(numbered.index(of:)) == [0, 1, 0])
        let unknown = try #require(throws: DataError.self) { try named.index(of: found[4]) }
        #expect(
            unknown.description.contains("line 6: the label 'good' is none of 'negative', 'positive'; give the classes")
        )
        #expect(throws: DataError.self) { try named.index(of: found[2]) }
        #expect(
            LabelSet(names: ["a"]) == nil && LabelSet(names: ["a", "a"]) == nil && LabelSet(names: ["a", ""]) == nil)
    }

    @Test func aNumberIsReadWhereNumbersAreAskedFor() throws {
        let found = try records("sentence\tscore\na\t4.750\nb\thigh\nc\t\n")
        #expect(try found[0].number() == 4.75)
        let word = try #require(throws: DataError.self) { try found[1].number() }
        #expect(word.description.hasSuffix("line 3: the label 'high' is no number, which the task asks for"))
        #expect(throws: DataError.self) { try found[2].number() }
    }
}
