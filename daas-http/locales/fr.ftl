# Ce que disent les pages, en français.
skip = Aller au contenu
navigation = Pages
my-desktops = Mes bureaux
all-desktops = Tous les bureaux
new-desktop = Nouveau bureau
sign-in = Se connecter
sign-out = Se déconnecter
name = Nom
password = Mot de passe
realm = Compte de
sign-in-wrong = Le nom ou le mot de passe est faux, ou le compte ne peut pas être utilisé.
sign-in-not-entitled = Nous vous connaissons, mais aucun de vos groupes n’a droit à un bureau ici. Adressez-vous à votre administrateur.
sign-in-too-many = Trop de mots de passe faux. Réessayez dans { $minutes ->
    [one] une minute
   *[other] { $minutes } minutes
  }.
sign-in-needs-more = Votre compte demande un second facteur, qui ne peut pas être donné ici.
sign-in-away = Les mots de passe ne peuvent pas être vérifiés en ce moment. Réessayez dans une minute.
no-desktops = Vous n’avez pas de bureau.
no-templates = Il n’y a rien que vous puissiez demander.
template = Modèle
size = Taille
machine = Machine
address = Adresse
owner = Propriétaire
ends = Fin
cores = { $cores ->
    [one] { $cores } processeur
   *[other] { $cores } processeurs
  }
memory = { $mib } Mio de mémoire
disk = { $gib } Gio de disque
ready-in = prêt dans { $seconds } s environ
usually = Prêt en { $seconds } s d’habitude
place-in-queue = numéro { $place } dans la file
rdp-file = Ouvrir par Bureau à distance
extend = Une heure de plus
start = Démarrer
restart = Redémarrer
stop = Arrêter
delete = Supprimer
cancel = Annuler
keep = Le garder
create = Créer
form-used = Ce formulaire a déjà servi. Ceux ci-dessous sont nouveaux.
delete-really = Supprimer { $name } ?
delete-means = La machine et tout ce qui est sur son disque disparaissent définitivement.
label = Un nom à vous (facultatif)
label-help = Lettres minuscules, chiffres et tirets.
own-account = Un compte dedans
session-user = Nom d’utilisateur
session-password = Mot de passe
account = Mon compte
role = Rôle
sign-ins = Où vous êtes connecté
this-browser = ce navigateur
last-seen = Vu le { $time }
end-sign-in = Y mettre fin
request-id = Requête { $id } : le journal en dit plus sous ce numéro.
error-not-found = Cela n’existe pas
error-forbidden = Cela n’est pas pour vous
error-conflict = Cela ne peut pas se faire maintenant
error-too-many = Trop à la fois
error-unavailable = Quelque chose ne répond pas
error-inside = Quelque chose a mal tourné
error-invalid = Cela ne peut pas être voulu
phase-queued = Attend son tour
phase-creating = En création
phase-preparing = En préparation
phase-pooled = En réserve
phase-assigning = Devient le vôtre
phase-ready = Prêt
phase-stopping = S’arrête
phase-stopped = Arrêté
phase-starting = Démarre
phase-restarting = Redémarre
phase-destroying = En suppression
phase-lost = Sa machine a disparu
phase-parked = Un opérateur doit s’en occuper
phase-ended = Supprimé
open-here = Ouvrir ici
back = Retour au bureau
ctrl-alt-del = Ctrl+Alt+Suppr
clipboard = Presse-papiers
clipboard-text = Texte à échanger avec le bureau
fit-window = Ajuster à la fenêtre
full-screen = Plein écran
connect-again = Se reconnecter
keep-working = Continuer à travailler
idle-warning = Ce bureau va disparaître à {"{"}time{"}"} parce qu’il n’est pas utilisé.
screen-of = Écran de
console-toolbar = Écran
console-leave = Ctrl, Alt et Maj ensemble ramènent de l’écran aux boutons au-dessus.
console-needs-script = L’écran a besoin que les scripts soient permis dans ce navigateur. Le Bureau à distance s’en passe.
console-not-built = Ce serveur a été construit sans la visionneuse. Ouvrez le bureau par Bureau à distance.
console-connecting = Connexion…
console-connected = Connecté
console-again = La connexion a été perdue. Reconnexion…
console-restarted = Le serveur redémarre. Reconnexion…
console-screen = L’écran a disparu ; la machine redémarre peut-être. Reconnexion…
console-not-ready = Le bureau n’a pas encore d’écran. Nouvel essai…
console-away = L’écran ne peut pas être ouvert en ce moment. Nouvel essai…
console-given-up = L’écran n’est pas revenu.
console-gone = Ce bureau n’existe plus.
console-ticket = La permission de se connecter avait expiré. Reconnectez-vous.
console-not-yours = Cet écran est à quelqu’un d’autre.
console-by-operator = Un opérateur a mis fin à la connexion.
console-idle = Personne n’a touché l’écran depuis longtemps : la connexion a été coupée.
console-signed-out = Vous avez été déconnecté. Rechargez cette page pour vous connecter.
console-protocol = La visionneuse et le bureau ne se comprennent pas.
console-full = Trop d’écrans sont ouverts. Fermez-en un et reconnectez-vous.
# -- identity: providers
sign-in-by = Se connecter par { $realm }
provider-away = Le service qui vous connaît ne répond pas. Réessayez dans une minute.
provider-refused = Le service qui vous connaît ne vous a pas laissé entrer.
provider-not-begun = Cette connexion a été commencée ailleurs, ou a trop duré. Veuillez recommencer.
provider-untrusted = Ce que dit le service qui vous connaît n’est pas digne de confiance. Votre administrateur en trouve la raison dans le journal.
provider-not-set-up = La connexion par ce service n’est pas bien configurée. Votre administrateur en trouve la raison dans le journal.
# -- identity: second factor
second-factor = Second facteur
factor-why = Avec un second facteur, un mot de passe que quelqu’un a vu ne suffit pas pour se connecter à votre place. Une application sur votre téléphone montre un code de six chiffres, un autre chaque demi-minute.
factor-required = Votre rôle demande un second facteur avant toute autre chose. Une application sur votre téléphone montre un code de six chiffres, un autre chaque demi-minute.
factor-scan = Lisez ceci avec l’application (FreeOTP, Aegis, Google Authenticator ou une autre), puis écrivez le code qu’elle montre.
factor-qr = Le secret, pour la caméra de l’application
factor-open = L’ouvrir sur cet appareil
factor-type = Ou tapez-le dans l’application :
factor-enrol = L’activer
factor-since = Actif depuis { $time }.
factor-remove = Le retirer
factor-elsewhere = Votre second facteur est l’affaire du service qui vous connaît.
code = Code
code-help = Écrivez le code que montre l’application, ou l’un de vos codes de secours.
code-wrong = Le code est faux, ou a déjà servi. Attendez le suivant.
code-too-many = Trop de codes faux. Réessayez dans { $minutes ->
    [one] une minute
   *[other] { $minutes } minutes
  }.
code-stale = Ce secret n’est plus proposé. Utilisez celui ci-dessous.
code-absent = Vous n’avez pas de second facteur.
code-away = Les codes ne peuvent pas être vérifiés pour le moment. Réessayez dans une minute.
sign-in-other = Se connecter sous un autre nom
recovery-codes = Codes de secours
recovery-once = Gardez-les là où vous les trouverez sans votre téléphone. Chacun vaut pour une connexion, et ils ne sont montrés que cette fois.
recovery-left = { $codes ->
    [one] Il reste un code de secours.
   *[other] Il reste { $codes } codes de secours.
  }
recovery-renew = Faire de nouveaux codes de secours
go-on = Continuer
# -- identity: keys of one's own
keys = Clés d’API
key-means = Un programme qui a l’une de ces clés agit en votre nom. Donnez-lui le plus petit rôle, et une fin.
key-name = Nom de la clé
key-ends = Dernier jour (facultatif)
key-make = Faire une clé
key-made = Votre clé d’API
key-once = Voici la clé { $name }. Elle n’est montrée que cette fois ; gardez-la là où seul le programme peut la lire.
key-revoke = Révoquer
key-made-on = Faite le { $day }
key-used-on = Utilisée la dernière fois le { $day }
key-never-used = Jamais utilisée
key-ends-on = Finit le { $day }
key-name-wrong = Ce nom est impossible : lettres minuscules, chiffres et tirets.
key-role-wrong = Une clé ne peut pas avoir un rôle plus élevé que le vôtre.
key-ends-wrong = Ce jour est passé, ou n’existe pas.
key-taken = Vous avez déjà une clé de ce nom.
key-too-many = Vous avez déjà { $most } clés. Révoquez-en une d’abord.
