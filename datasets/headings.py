"""What a column, a folder or a cell is called, word by word: the words tell what it is, however they are joined.

`SubjectID`, `subject_id` and `subjectid` are one name, and `imagesTr` and `xray_train` both hold a word for training.
"""

import re
import unicodedata
from collections.abc import Collection

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_A-Za-z]+|\d+")
_LONGEST = 40  # letters of a word that may be two words
_PERSON = {"empi", "examinee", "examinees", "mrn", "paciente", "pacientes", "participant",
           "participants", "patient", "patiente", "patienten", "patientin", "patients", "paziente",
           "pazienti", "person", "pid", "subj", "subject", "subjects"}  # fmt: skip
_PERHAPS = {"animal", "case", "child", "donor", "individual", "infant", "pat", "proband", "pt", "sub",
            "volunteer"}  # fmt: skip # only beside a word for an id
_ID = {"code", "codice", "codigo", "guid", "hash", "id", "identificador", "identifiant", "identifier",
       "ids", "kennung", "key", "no", "nr", "num", "number", "numero", "nummer", "pseudonym",
       "schlussel", "uid", "uuid"}  # fmt: skip # without their accents
_HOW = {"anon", "anonymised", "anonymized", "anonymous", "de", "deid", "deidentified", "del", "do", "hashed",
        "identified", "name", "original", "pseudo", "pseudonymised", "pseudonymized", "s", "source",
        "x", "y"}  # fmt: skip # pandas writes patient_id_x where it joined two tables
_FILE = {"dcm", "dicom", "file", "filename", "filepath", "fname", "image", "images", "img", "jpeg",
         "jpg", "path", "png", "sop", "tif", "tiff"}  # fmt: skip
_WHERE = {"abs", "absolute", "full", "local", "rel", "relative"}  # beside a word for a file
_COUNT = {"idx", "index"}  # a number: an id of what it stands beside, and alone nothing
_LABEL = {"annotation", "annotations", "category", "class", "classes", "classification", "consensus",
          "diagnoses", "diagnosis", "dx", "finding", "findings", "groundtruth", "gt", "label", "labels",
          "relabel", "target", "targets", "truth"}  # fmt: skip
_READER = {"annotator", "doctor", "dr", "expert", "observer", "physician", "r", "rad", "radiologist",
           "rater", "reader"}  # fmt: skip # a label of theirs has a number, or a word for a label, beside it
_WHICH = {"a", "adjudicated", "agreed", "alternative", "another", "b", "binary", "c", "confirmed",
          "corrected", "cxr", "final", "first", "gold", "ground", "image", "junior", "majority",
          "manual", "name", "nd", "new", "of", "old", "one", "original", "other", "pneumonia", "raw",
          "rd", "reference", "report", "reviewed", "s", "second", "senior", "silver", "st", "standard",
          "text", "third", "true", "two", "value", "verified", "x", "y"}  # fmt: skip
_CODE = {"code", "id", "idx", "index", "number"}
_ELSE = {"admission", "ai", "baseline", "before", "cad", "clinical", "family", "follow", "followup",
         "history", "indication", "model", "past", "pcr", "pred", "predicted", "prediction",
         "predictions", "previous", "prior", "prob", "probability", "question", "reason", "referral",
         "score", "suspected", "suspicion", "symptom", "symptoms"}  # fmt: skip # may differ from the label
_BEGINS = ("pacient", "patient", "pazient")
_ABOUT = {"age", "alter", "birth", "dob", "edad", "eta", "gender", "geschlecht", "geburt", "height",
          "orientation", "position", "race", "sex", "sexe", "sexo", "size", "weight"}  # fmt: skip # of a patient
_EXAM = {"accession", "exam", "examination", "series", "study", "visit"}


def words(name: str) -> list[str]:
    """Return the words of a name, in lower case: it is divided at signs, at digits and where small letters end."""
    return [word.casefold() for word in _WORD.findall(name)]


def halves(word: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the two known words that a word is grown together from, or the word."""
    if word in known or len(word) > _LONGEST:
        return (word,)
    pairs = ((word[:i], word[i:]) for i in range(2, len(word) - 1))
    return next((pair for pair in pairs if pair[0] in known and pair[1] in known), (word,))


def joined(name: str) -> str:
    """Return what the spellings of one name have in common: StudyID and study_id."""
    return "".join(words(name))


def names_patients(heading: str) -> bool:
    """Return whether a column holds the ids of patients: a word for a person, and nothing beside it but for an id."""
    found = _parts(heading)
    beside = _COUNT if found & _PERSON else set[str]()
    return found <= _PERSON | _PERHAPS | _ID | _HOW | beside and bool(
        found & _PERSON or (found & _PERHAPS and found & _ID)
    )


def names_images(heading: str) -> bool:
    """Return whether a column holds the names or ids of images."""
    found = _parts(heading)
    return bool(found & _FILE) and found <= _FILE | _ID | _COUNT | _WHERE | {"instance", "name"}


def names_files(heading: str) -> bool:
    """Return whether a column holds the names of the images' files, and not ids of images, which may be others."""
    return names_images(heading) and not _parts(heading) & (_ID | _COUNT | {"instance", "sop"})


def names_exams(heading: str) -> bool:
    """Return whether a column holds the ids of studies, series or visits, of which each may have several images."""
    found = _parts(heading)
    return bool(found & _EXAM) and found <= _EXAM | _ID | _HOW | {"instance"}


def names_labels(heading: str) -> bool:
    """Return whether a column holds labels, perhaps one reader's, such as label_2, radiologist2 or final_diagnosis."""
    found = [part for word in words(heading) for part in halves(word, _LABEL | _READER | _WHICH)]
    rest = {part for part in found if not part.isdigit()}
    several = any(map(str.isdigit, found)) or rest & _WHICH
    return rest <= _LABEL | _READER | _WHICH | _CODE and bool(rest & _LABEL or (rest & _READER and several))


def ends_in_label(heading: str) -> bool:
    """Return whether a column may hold labels of a kind that nobody knows, such as auto_label; or sex_class."""
    return not _LABEL.isdisjoint(words(heading)[-1:])


def names_another_time(heading: str) -> bool:
    """Return whether a column holds what may differ from the label: another time's, a model's, a question's."""
    return not _ELSE.isdisjoint(words(heading))


def names_something(heading: str) -> bool:
    """Return whether a column holds ids, of whatever."""
    last = words(heading)[-1:]
    ends = bool(last) and halves(last[0], _PERSON | _PERHAPS | _ID | _FILE | _EXAM)[-1] in _ID
    return ends or names_patients(heading) or names_images(heading) or names_exams(heading)


def may_name_patients(heading: str) -> bool:
    """Return whether a column whose cells repeat may hold the ids of patients: any ids, names, what patients have."""
    found = _parts(heading)
    about = joined(heading).startswith(_BEGINS) and found.isdisjoint(_ABOUT)
    return names_something(heading) or found == {"name"} or about


def _parts(heading: str) -> set[str]:
    known = _PERSON | _PERHAPS | _ID | _FILE | _EXAM | _COUNT | _ABOUT
    plain = "".join(char for char in unicodedata.normalize("NFKD", heading) if not unicodedata.combining(char))
    return {part for word in words(plain) for part in halves(word, known)}
